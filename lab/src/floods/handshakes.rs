//! TLS for nothing: handshakes that are begun and left, and renegotiation, which each side could ask for until TLS 1.3.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::stand::HOST;
use super::wire::Wire;
use super::{Attack, Flood, HeldBy};

/// All of this family.
pub const ALL: &[Flood] = &[
    Flood {
        // Each makes the gateway sign; the client only hangs up.
        name: "tls-handshakes",
        counted: "tidegate_tls_handshake_failures_total",
        port: |stand| stand.tls,
        attack: handshakes,
        patience: Duration::ZERO,
        held_by: HeldBy::Refusing,
    },
    Flood {
        name: "tls-renegotiation",
        counted: "tidegate_tls_handshakes_total{version=\"TLSv1.2\"",
        port: |stand| stand.tls,
        attack: renegotiate,
        patience: Duration::ZERO,
        held_by: HeldBy::Cutting,
    },
];

/// ClientHellos, and the end; cut is one that was not even let begin.
fn handshakes(attack: &Attack) -> u64 {
    let mut cut = 0;
    while !attack.is_over() {
        let mut begun = Wire::connect(attack);
        if begun.as_mut().is_some_and(|wire| !wire.send(&client_hello())) {
            begun = None;
        }
        attack.tried(1);
        match begun {
            None => cut += 1,
            Some(mut wire) => {
                // Until the answer has been made.
                std::thread::sleep(Duration::from_millis(5));
                wire.drain();
            }
        }
    }
    cut
}

/// Asks for renegotiation, as `openssl s_client` does on a line `R`; cut is a connection that ends there. What counts is
/// that the gateway signs once for each connection, and never again.
fn renegotiate(attack: &Attack) -> u64 {
    let mut cut = 0;
    while !attack.is_over() {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-tls1_2",
            "-connect",
            &format!("127.0.0.1:{}", attack.port),
            "-servername",
            HOST,
            "-bind",
            &attack.from().to_string(),
        ]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let Ok(mut child) = child else { return cut };
        std::thread::sleep(Duration::from_millis(300));
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(b"R\n");
            std::thread::sleep(Duration::from_millis(300));
        }
        attack.tried(1);
        let Ok(output) = child.wait_with_output() else { return cut };
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        cut += u64::from(text.contains("no renegotiation"));
    }
    cut
}

/// A first message of TLS 1.3 that is complete: one cipher, X25519 with any 32 bytes for a key, two signature schemes.
fn client_hello() -> Vec<u8> {
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let extension = |id: u16, bytes: &[u8]| [&id.to_be_bytes()[..], &sized(bytes)].concat();
    let name = [&[0][..], &sized(HOST.as_bytes())].concat();
    let share = [&[0, 0x1d][..], &sized(&[9; 32])].concat();
    let extensions = [
        extension(0, &sized(&name)),
        extension(10, &sized(&[0, 0x1d])),
        extension(13, &sized(&[4, 3, 8, 4])),
        extension(43, &[2, 3, 4]),
        extension(51, &sized(&share)),
    ]
    .concat();
    let body = [&[3, 3][..], &[7; 32], &[0], &sized(&[0x13, 1]), &[1, 0], &sized(&extensions)].concat();
    let message = [&[1, 0][..], &sized(&body)].concat();
    [&[22, 3, 1][..], &sized(&message)].concat()
}
