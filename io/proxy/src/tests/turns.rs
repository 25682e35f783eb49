//! Whoever never stops leaves others their turn: one worker, floods that go on until the test says so, and somebody else whose
//! requests are answered meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use super::harness::*;
use crate::Limits;

/// Threads that do something again and again; they end with this.
struct Flood {
    over: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Flood {
    fn start(count: usize, act: impl Fn() + Send + Sync + 'static) -> Flood {
        let (over, done, act): (Arc<AtomicBool>, Arc<AtomicUsize>, _) =
            (Arc::default(), Arc::default(), Arc::new(act));
        let thread = |_| {
            let (over, done, act) = (over.clone(), done.clone(), act.clone());
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    act();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = (0..count).map(thread).collect();
        Flood { over, done, threads }
    }

    /// Each of these requests is answered, and the flood went on while they were.
    fn disturbs_nobody(self, gateway: &Gateway) {
        until("it floods", || self.done.load(Ordering::Relaxed) > 10);
        let before = self.done.load(Ordering::Relaxed);
        let mut client = gateway.client();
        for _ in 0..30 {
            assert_eq!(client.ask(GET).1, "fine");
            assert_eq!(gateway.client().ask(GET).1, "fine");
        }
        until("it goes on", || self.done.load(Ordering::Relaxed) > before);
        self.over.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn gateway(origin: &Origin) -> Gateway {
    let limits = Limits { cuts_per_client: 0, ..Limits::default() };
    let gateway = Gateway::with_workers(1, false, limits);
    gateway.apply(traffic(&[gateway.address], &[(1, &backend("web", &[origin.address]))]));
    gateway
}

fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Header lists too large, one after the other, each to be unpacked and answered: there is always more to read.
#[test]
fn header_lists_without_end() {
    let origin = Origin::text("fine");
    let gateway = gateway(&origin);
    let address = gateway.address;
    let flood = Flood::start(4, move || {
        let mut block = vec![0x82, 0x86, 0x84, 0x01, 12];
        block.extend(b"shop.example");
        (0..400).for_each(|_| block.extend([0, 1, b'x', 1, b'y']));
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        for stream in (1..1000_u32).step_by(2) {
            bytes.extend(&(block.len() as u32).to_be_bytes()[1..]);
            bytes.extend([1, 5]);
            bytes.extend(stream.to_be_bytes());
            bytes.extend(&block);
        }
        let mut stream = dial(address);
        let _ = stream.write_all(&bytes);
        // What is left unread would reset the connection, and what was sent be lost.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    flood.disturbs_nobody(&gateway);
    assert!(gateway.has_metric("tidegate_http2_floods_total{kind=\"header_lists\"}"));
}

/// Requests in a row that the gateway answers itself, and whose answers are taken: the connection never has to wait.
#[test]
fn pipelined_requests_without_end() {
    let origin = Origin::text("fine");
    let gateway = gateway(&origin);
    let wire = dial(gateway.address);
    let mut reader = wire.try_clone().unwrap();
    let drain = thread::spawn(move || {
        let mut room = vec![0; 1 << 20];
        let mut count = 0;
        while let Ok(more @ 1..) = reader.read(&mut room) {
            count += more;
        }
        count
    });
    let writer = wire.try_clone().unwrap();
    let requests = "GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n".repeat(200);
    let flood = Flood::start(1, move || (&writer).write_all(requests.as_bytes()).unwrap());
    flood.disturbs_nobody(&gateway);
    wire.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(drain.join().unwrap() > 0);
}

/// Replies of one UDP endpoint, always more of them than are read at once.
#[test]
fn datagrams_without_end() {
    let origin = Origin::text("fine");
    let gateway = Gateway::with_workers(1, false, Limits { cuts_per_client: 0, ..Limits::default() });
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let door = free_address();
    let udp = super::datagram::udp(door, &[(1, &backend("dns", &[server.local_addr().unwrap()]))]);
    let mut model = (*traffic(&[gateway.address], &[(1, &backend("web", &[origin.address]))])).clone();
    model.entrances.extend(udp.entrances.iter().cloned());
    gateway.apply(Arc::new(model));
    let client = super::datagram::client();
    client.send_to(b"go", door).unwrap();
    let (_, session) = server.recv_from(&mut [0; 8]).unwrap();
    server.connect(session).unwrap();
    let flood = Flood::start(2, move || {
        // A full queue refuses some.
        (0..64).for_each(|_| drop(server.send(b"x")));
    });
    flood.disturbs_nobody(&gateway);
    assert!(client.recv(&mut [0; 8]).is_ok());
}

/// Connections opened and closed without end.
#[test]
fn connections_without_end() {
    let origin = Origin::text("fine");
    let gateway = gateway(&origin);
    let address = gateway.address;
    let flood = Flood::start(8, move || {
        // Reset at its end, or the machine would run out of ports.
        let stream = TcpStream::connect(address).unwrap();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    flood.disturbs_nobody(&gateway);
}
