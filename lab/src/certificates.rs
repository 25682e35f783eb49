//! Certificates for the host of a load, made anew for each lab: several for the same name, so that one can replace another.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Certificates for one host name, and a file of all of them for clients to trust.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// Certificate and key in PEM.
    pairs: Vec<(String, String)>,
    /// All certificates in PEM, for clients.
    pub bundle: PathBuf,
}

impl Certificates {
    /// Makes one for each of `subjects`, whose common names they become, in this directory.
    pub fn make(dir: &Path, host: &str, subjects: &[&str]) -> Result<Certificates> {
        let pairs = subjects.iter().map(|subject| pair(dir, host, subject)).collect::<Result<Vec<_>>>()?;
        let bundle = dir.join("trusted.pem");
        fs::write(&bundle, pairs.iter().map(|(certificate, _)| certificate.as_str()).collect::<String>())?;
        Ok(Certificates { pairs, bundle })
    }

    /// The Secret `any` in namespace `shop`, with the certificate of that number, counted round.
    pub fn secret(&self, number: usize) -> String {
        let (certificate, key) = &self.pairs[number % self.pairs.len()];
        let block = |pem: &str| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: any, namespace: shop}}\ntype: kubernetes.io/tls\n\
             stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
            block(certificate),
            block(key)
        )
    }
}

fn pair(dir: &Path, host: &str, subject: &str) -> Result<(String, String)> {
    let path = |kind: &str| dir.join(format!("{subject}.{kind}"));
    self_signed(subject, &format!("DNS:{host}"), &path("crt"), &path("key"))
}

/// A P-256 certificate that signs itself, for two days; both in PEM. `names` as openssl writes alternative names.
pub fn self_signed(subject: &str, names: &str, certificate: &Path, key: &Path) -> Result<(String, String)> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    openssl.args(["-days", "2", "-subj", &format!("/CN={subject}")]);
    openssl.args(["-addext", &format!("subjectAltName={names}")]);
    openssl.arg("-keyout").arg(key).arg("-out").arg(certificate);
    let output = openssl.stdin(Stdio::null()).output().context("openssl cannot be started")?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    Ok((fs::read_to_string(certificate)?, fs::read_to_string(key)?))
}
