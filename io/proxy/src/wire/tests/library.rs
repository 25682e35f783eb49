//! The library's own client, with its own buffers, in a thread: what we send is what others understand.

use std::io::{Read, Write};

use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::*;

/// A client that believes this authority.
pub fn config(ca: &Authority, own: Option<&Leaf>) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(tidegate_tls::store([ca.der().as_slice()]));
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(leaf) => {
            let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![leaf.der.clone().into()], key).unwrap()
        }
    })
}

type Client = StreamOwned<ClientConnection, std::net::TcpStream>;

/// Runs a client in a thread against our side here.
fn meet<T: Send>(
    tls: impl FnOnce(&Authority) -> ServerTls,
    client: impl FnOnce(Client) -> T + Send,
    server: impl AsyncFnOnce(Wire),
) -> T {
    let ca = Authority::new("ca");
    let gateway = Gateway::plain(tls(&ca));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, config) = (listener.local_addr().unwrap(), config(&ca, None));
    std::thread::scope(|scope| {
        let client = scope.spawn(move || {
            let stream = std::net::TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let connection = ClientConnection::new(config, "a.example".try_into().unwrap()).unwrap();
            client(StreamOwned::new(connection, stream))
        });
        run(async {
            let (stream, _) = listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            server(gateway.terminate(TcpStream::from_std(stream).unwrap()).await.unwrap()).await;
        });
        client.join().unwrap()
    })
}

fn of(max_version: TlsVersion) -> impl FnOnce(&Authority) -> ServerTls {
    move |ca| ServerTls { max_version, ..ends(&[&ca.leaf(&["a.example"])]) }
}

/// A request, a response, and a goodbye that the library knows for one.
#[test]
fn ask_and_answer() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let answer = meet(
            of(version),
            |mut client| {
                client.write_all(b"question").unwrap();
                let mut answer = Vec::new();
                client.read_to_end(&mut answer).unwrap();
                answer
            },
            async |wire| {
                assert_eq!(read(&wire, 100).await.unwrap(), b"question");
                write(&wire, &[7; 200_000]).await.unwrap();
            },
        );
        assert!(answer == [7; 200_000]);
    }
}

/// New keys in the middle of a stream change nothing for either side, and wake nobody who waits for bytes.
#[test]
fn key_updates() {
    let (told, tell) = std::sync::mpsc::channel();
    meet(
        of(TlsVersion::V1_3),
        move |mut client| {
            client.write_all(b"one").unwrap();
            client.read_exact(&mut [0; 3]).unwrap();
            client.conn.refresh_traffic_keys().unwrap();
            client.flush().unwrap();
            tell.recv_timeout(Duration::from_secs(10)).unwrap();
            client.write_all(b"two").unwrap();
            let mut answer = [0; 3];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"TWO");
            client.conn.send_close_notify();
            client.flush().unwrap();
            client.read_to_end(&mut Vec::new()).unwrap();
        },
        async |wire| {
            assert_eq!(read(&wire, 100).await.unwrap(), b"one");
            write(&wire, b"ONE").await.unwrap();
            let quiet = tokio::time::timeout(Duration::from_millis(100), wire.readable()).await;
            assert!(quiet.is_err(), "a key update is nothing to read");
            told.send(()).unwrap();
            assert_eq!(read(&wire, 100).await.unwrap(), b"two");
            write(&wire, b"TWO").await.unwrap();
            assert_eq!(read(&wire, 100).await.unwrap(), b"");
        },
    );
}

/// A hundred key updates without a byte of data end the connection.
#[test]
fn floods_of_key_updates() {
    meet(
        of(TlsVersion::V1_3),
        |mut client| {
            client.write_all(b"one").unwrap();
            for _ in 0..100 {
                client.conn.refresh_traffic_keys().unwrap();
            }
            let _ = client.flush();
            assert!(client.read_to_end(&mut Vec::new()).is_err());
        },
        async |wire| {
            assert_eq!(read(&wire, 100).await.unwrap(), b"one");
            assert_eq!(read(&wire, 100).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
            assert_eq!(wire.glance(), Glance::Over);
            assert!(wire.try_write(b"x").is_err());
        },
    );
}

/// What was changed on the way ends the connection, with an alert, and is never given out.
#[test]
fn tampered_records() {
    meet(
        of(TlsVersion::V1_3),
        |mut client| {
            client.write_all(b"one").unwrap();
            client.sock.write_all(b"\x17\x03\x03\x00\x20 a record that nobody has sealed..").unwrap();
            let error = client.read_to_end(&mut Vec::new()).unwrap_err();
            assert!(error.to_string().contains("BadRecordMac"), "{error}");
        },
        async |wire| {
            assert_eq!(read(&wire, 100).await.unwrap(), b"one");
            assert_eq!(read(&wire, 100).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        },
    );
}
