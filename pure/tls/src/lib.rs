//! Certificates and keys: read from PEM, checked, matched to server names.
