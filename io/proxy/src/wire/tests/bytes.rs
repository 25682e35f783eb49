//! Bytes through TLS: whole, in order, both ways at once, and an end that is known for one.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn pattern(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 31 + salt) >> 3) as u8).collect()
}

/// Sends all of it in such pieces, then the end.
async fn send(wire: &Wire, bytes: &[u8], piece: usize) -> io::Result<()> {
    for piece in bytes.chunks(piece) {
        write(wire, piece).await?;
    }
    wire.shutdown().await
}

/// Sends both ways at once; what arrives.
fn exchange(
    max_version: TlsVersion,
    up: &[u8],
    down: &[u8],
    piece: usize,
    room: usize,
    is_narrow: bool,
) -> [Vec<u8>; 2] {
    run(async {
        let ca = Authority::new("ca");
        let gateway = Gateway::plain(ServerTls { max_version, ..ends(&[&ca.leaf(&["a.example"])]) });
        let (near, far) = sockets().await;
        if is_narrow {
            narrow(&near);
            narrow(&far);
        }
        let tls = begins(&ca, "a.example");
        let (client, server) =
            tokio::join!(gateway.secure(near, &tls, Offer::Nothing), gateway.terminate(far));
        let (client, server) = (client.unwrap(), server.unwrap());
        let (sent_up, sent_down, got_up, got_down) = tokio::join!(
            send(&client, up, piece),
            send(&server, down, piece),
            read_all(&server, room),
            read_all(&client, room),
        );
        sent_up.unwrap();
        sent_down.unwrap();
        [got_up.unwrap(), got_down.unwrap()]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the sizes of bodies, writes, reads and socket buffers, both directions arrive whole, and end.
    #[test]
    fn both_ways(
        up in 0usize..150_000,
        down in 0usize..150_000,
        piece in prop_oneof![1usize..40, 1000usize..20_000, 60_000usize..140_000],
        room in prop_oneof![1usize..40, 1000usize..20_000, 60_000usize..140_000],
        is_narrow: bool,
        is_old: bool,
    ) {
        let least = if piece < 40 { 4000 } else { usize::MAX };
        let (up, down) = (pattern(up.min(least), 1), pattern(down.min(least), 2));
        let version = if is_old { TlsVersion::V1_2 } else { TlsVersion::V1_3 };
        let [got_up, got_down] = exchange(version, &up, &down, piece, room, is_narrow);
        prop_assert!(got_up == up && got_down == down);
    }
}

/// Megabytes arrive whole.
#[test]
fn megabytes() {
    let up = pattern(5_000_000, 1);
    let [got_up, got_down] = exchange(TlsVersion::V1_3, &up, &up, 65_536, 65_536, false);
    assert!(got_up == up && got_down == up);
}

/// What a write reports is what left: a receiver that reads nothing stops the writer within what sockets hold.
#[test]
fn a_stalled_reader_stops_the_writer() {
    run(async {
        let ca = Authority::new("ca");
        let gateway = Gateway::plain(ends(&[&ca.leaf(&["a.example"])]));
        let (near, far) = sockets().await;
        narrow(&near);
        narrow(&far);
        let tls = begins(&ca, "a.example");
        let (client, server) =
            tokio::join!(gateway.secure(near, &tls, Offer::Nothing), gateway.terminate(far));
        let (client, server) = (client.unwrap(), server.unwrap());
        let bytes = pattern(1_000_000, 0);
        let mut sent = 0;
        while let Ok(count) = server.try_write(&bytes[sent..]) {
            sent += count;
        }
        assert!(sent < 300_000, "{sent}");
        let (rest, got) = tokio::join!(
            async {
                write(&server, &bytes[sent..]).await.unwrap();
                server.shutdown().await.unwrap();
            },
            read_all(&client, 10_000)
        );
        let () = rest;
        assert!(got.unwrap() == bytes);
    });
}

/// The end is an end only when it was said: a `close_notify` is, a closed or reset socket is not.
#[test]
fn ends_are_told_apart() {
    run(async {
        let ca = Authority::new("ca");
        let gateway = Gateway::plain(ends(&[&ca.leaf(&["a.example"])]));
        let tls = begins(&ca, "a.example");

        let (client, server) = gateway.pair(&tls).await;
        write(&client, b"whole").await.unwrap();
        drop(client);
        assert_eq!(read_all(&server, 100).await.unwrap(), b"whole");

        let (client, server) = gateway.pair(&tls).await;
        write(&client, b"part").await.unwrap();
        SockRef::from(client.tcp()).shutdown(Shutdown::Write).unwrap();
        assert_eq!(read(&server, 100).await.unwrap(), b"part");
        assert_eq!(read(&server, 100).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(server.glance(), Glance::Over);
        assert!(!server.is_alive(false));

        let (client, server) = gateway.pair(&tls).await;
        client.cut();
        drop(client);
        assert_eq!(read(&server, 100).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    });
}

/// Who said that nothing more comes still receives, in both versions.
#[test]
fn half_closed() {
    for max_version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        run(async {
            let ca = Authority::new("ca");
            let gateway = Gateway::plain(ServerTls { max_version, ..ends(&[&ca.leaf(&["a.example"])]) });
            let (client, server) = gateway.pair(&begins(&ca, "a.example")).await;
            write(&client, b"question").await.unwrap();
            client.shutdown_write().unwrap();
            assert_eq!(client.try_write(b"more").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            assert_eq!(read_all(&server, 100).await.unwrap(), b"question");
            let answer = pattern(100_000, 0);
            let (sent, got) = tokio::join!(send(&server, &answer, 30_000), read_all(&client, 1000));
            assert!(sent.is_ok() && got.unwrap() == answer);
        });
    }
}

/// A `close_notify` that comes in pieces ends what is received and nothing else: what is written after it arrives, and the
/// connection is dropped like any other.
#[test]
fn half_closed_in_pieces() {
    for max_version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        run(async {
            let ca = Authority::new("ca");
            let gateway = Gateway::plain(ServerTls { max_version, ..ends(&[&ca.leaf(&["a.example"])]) });
            let ((near, mut from_client), (mut to_server, far)) = (sockets().await, sockets().await);
            let tls = begins(&ca, "a.example");
            let (client, server) = tokio::select! {
                both = async { tokio::join!(gateway.secure(near, &tls, Offer::Http), gateway.terminate(far)) } => both,
                ended = tokio::io::copy_bidirectional(&mut from_client, &mut to_server) => panic!("{ended:?}"),
            };
            let (client, server) = (client.unwrap(), server.unwrap());
            client.shutdown_write().unwrap();
            let mut close = Vec::new();
            from_client.read_to_end(&mut close).await.unwrap();
            assert!(close.len() > 20);
            for (at, byte) in close.iter().enumerate() {
                to_server.write_all(&[*byte]).await.unwrap();
                server.tcp().readable().await.unwrap();
                match server.try_read(&mut [0; 10]) {
                    Ok(count) => assert_eq!((count, at + 1), (0, close.len())),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            write(&server, b"answer").await.unwrap();
            drop(server);
            tokio::io::copy(&mut to_server, &mut from_client).await.unwrap();
            assert_eq!(read_all(&client, 100).await.unwrap(), b"answer");
        });
    }
}

/// A connection nobody uses is alive whatever tickets arrive, and no longer once the other side closes; bytes that nobody
/// asked for count as an end.
#[test]
fn idle_connections() {
    run(async {
        let ca = Authority::new("ca");
        let gateway = Gateway::plain(ends(&[&ca.leaf(&["a.example"])]));
        let (client, server) = gateway.pair(&begins(&ca, "a.example")).await;
        assert!(client.is_alive(true) && client.is_alive(false));
        write(&client, b"x").await.unwrap();
        // This read brings the tickets on their way.
        assert_eq!(read(&server, 10).await.unwrap(), b"x");
        assert_eq!(server.try_read(&mut [0; 10]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        client.tcp().readable().await.unwrap();
        assert!(client.is_alive(false) && client.is_alive(true));
        assert_eq!(client.glance(), Glance::Quiet);
        write(&server, b"y").await.unwrap();
        client.readable().await.unwrap();
        assert_eq!(client.glance(), Glance::Bytes);
        assert!(!client.is_alive(true));
        assert_eq!(read(&client, 10).await.unwrap(), b"y");
        assert!(client.is_alive(true));
        drop(server);
        client.readable().await.unwrap();
        assert!(!client.is_alive(false));

        let (client, server) = gateway.pair(&begins(&ca, "a.example")).await;
        drop(server);
        // Asked directly, the kernel knows before the runtime does.
        let mut alive = client.is_alive(true);
        for _ in 0..100 {
            if alive {
                std::thread::sleep(Duration::from_millis(1));
                alive = client.is_alive(true);
            }
        }
        assert!(!alive);
    });
}

/// An idle connection holds none of the worker's buffers, and half a record no more than its bytes.
#[test]
fn idle_connections_hold_no_buffer() {
    run(async {
        let ca = Authority::new("ca");
        let gateway = Gateway::plain(ends(&[&ca.leaf(&["a.example"])]));
        let (client, server) = gateway.pair(&begins(&ca, "a.example")).await;
        write(&client, b"x").await.unwrap();
        assert_eq!(read(&server, 10).await.unwrap(), b"x");
        let waits = tokio::time::timeout(Duration::from_millis(20), server.readable()).await;
        assert!(waits.is_err());
        let mut raw: &[u8] = &[23, 3, 3, 1, 0, 7, 7];
        while !raw.is_empty() {
            let count = client.tcp().try_write(raw).unwrap();
            raw = &raw[count..];
        }
        let waits = tokio::time::timeout(Duration::from_millis(50), server.readable()).await;
        assert!(waits.is_err());
        let Wire::Tls(wire) = &server else { panic!("no TLS") };
        assert_eq!(wire.held(), 7);
    });
}
