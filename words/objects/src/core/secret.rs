//! Secret and ConfigMap. The values of a Secret are never printed: not by Debug, not by serde.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secret {
    /// `type`; absent: `Opaque`. A certificate and its key are `kubernetes.io/tls`.
    pub secret_type: String,
    /// `data`, decoded from base64, and over it `stringData`.
    pub data: BTreeMap<String, SecretBytes>,
}

/// A value of a Secret. Read it with `&*value` or [`SecretBytes::expose`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(Arc<[u8]>);

/// What stands in the place of a value wherever it could be printed.
const REDACTED: &str = "redacted";

impl SecretBytes {
    /// The value itself. Whoever takes it must not print it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        SecretBytes(bytes.into())
    }
}

impl Deref for SecretBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// A ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigMap {
    /// `data`.
    pub data: BTreeMap<String, String>,
    /// `binaryData`, decoded from base64.
    pub binary_data: BTreeMap<String, Arc<[u8]>>,
}

impl ConfigMap {
    /// The value of a key, wherever it stands; a key stands in one of the two only.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        let text = self.data.get(key).map(String::as_bytes);
        text.or_else(|| self.binary_data.get(key).map(|bytes| &**bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However a Secret is printed, its values are not there.
    #[test]
    fn values_are_never_printed() {
        let value = SecretBytes::from(b"hunter2".to_vec());
        let secret = Secret {
            secret_type: "Opaque".into(),
            data: BTreeMap::from([("password".to_owned(), value.clone())]),
        };
        let json = serde_json::to_string(&value).expect("text");
        for shown in [format!("{secret:?}"), format!("{secret:#?}"), json] {
            assert!(shown.contains("redacted") && !shown.contains("hunter2"), "{shown}");
            assert!(!shown.contains("104"), "bytes as numbers: {shown}");
        }
        assert_eq!(value.expose(), b"hunter2");
    }
}
