//! The task against a DNS server of the test's own, on loopback.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tidegate_objects::dns::ADDRESSES_MAX;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::*;

/// As long as anything may take on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(30);

/// What the server says of a name.
#[derive(Clone)]
enum Says {
    Addresses(Vec<IpAddr>),
    Alias(&'static str, Ipv4Addr),
    NoSuchName,
    Fails,
}

/// A DNS server on one port, over UDP and TCP; answers that do not fit into a datagram are had over TCP.
struct Server {
    address: SocketAddr,
    table: Arc<Mutex<HashMap<String, Says>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start() -> Server {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // The same port of TCP may be somebody else's.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let server = Server { address, table: Arc::default(), asked: Arc::default() };
        let (table, asked) = (server.table.clone(), server.asked.clone());
        let answer = Arc::new(move |question: &[u8], bytes_max| reply(&table, &asked, question, bytes_max));
        let over_udp = answer.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                let _ = udp.send_to(&over_udp(&buffer[..length], 1232), from).await;
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    while let Ok(length) = stream.read_u16().await {
                        let mut question = vec![0; length.into()];
                        stream.read_exact(&mut question).await?;
                        let reply = answer(&question, 65_535);
                        stream.write_u16(u16::try_from(reply.len()).unwrap()).await?;
                        stream.write_all(&reply).await?;
                    }
                    std::io::Result::Ok(())
                });
            }
        });
        server
    }

    fn says(&self, name: &str, says: Says) {
        self.table.lock().unwrap().insert(name.to_owned(), says);
    }

    /// The names that were asked for, in order.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn reply(
    table: &Mutex<HashMap<String, Says>>,
    asked: &Mutex<Vec<String>>,
    question: &[u8],
    bytes_max: usize,
) -> Vec<u8> {
    let question = Message::from_vec(question).unwrap();
    let query = question.queries[0].clone();
    let name = query.name().to_ascii();
    asked.lock().unwrap().push(name.clone());
    let says = table.lock().unwrap().get(name.trim_end_matches('.')).cloned();
    let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
    reply.metadata.recursion_available = true;
    reply.add_query(query.clone());
    let record = |name: &Name, data| Record::from_rdata(name.clone(), 0, data);
    match says {
        Some(Says::Addresses(addresses)) => {
            for address in addresses {
                match (address, query.query_type()) {
                    (IpAddr::V4(v4), RecordType::A) => {
                        reply.add_answer(record(query.name(), RData::A(A(v4))));
                    }
                    (IpAddr::V6(v6), RecordType::AAAA) => {
                        reply.add_answer(record(query.name(), RData::AAAA(AAAA(v6))));
                    }
                    _ => {}
                }
            }
        }
        Some(Says::Alias(to, address)) => {
            let alias = Name::from_ascii(to).unwrap();
            reply.add_answer(record(query.name(), RData::CNAME(CNAME(alias.clone()))));
            if query.query_type() == RecordType::A {
                reply.add_answer(record(&alias, RData::A(A(address))));
            }
        }
        Some(Says::NoSuchName) | None => reply.metadata.response_code = ResponseCode::NXDomain,
        Some(Says::Fails) => reply.metadata.response_code = ResponseCode::ServFail,
    }
    let whole = reply.to_vec().unwrap();
    if whole.len() <= bytes_max {
        return whole;
    }
    let mut cut = Message::response(question.metadata.id, question.metadata.op_code);
    cut.metadata.truncation = true;
    cut.add_query(query);
    cut.to_vec().unwrap()
}

fn resolver(server: &Server) -> Resolver {
    // As short as a test needs.
    let book = Book::hasty(Duration::from_millis(20));
    Resolver::start_with(Nameservers::Listed(vec![server.address]), &mut Registry::default(), book)
}

fn want(resolver: &Resolver, names: &[&str]) {
    resolver.want(names.iter().map(|name| (DnsName::parse(name).unwrap(), false)).collect());
}

fn addresses(known: &Known, name: &str) -> Vec<String> {
    let answer = known.answers.get(&DnsName::parse(name).unwrap());
    answer.map(|answer| answer.addresses().iter().map(ToString::to_string).collect()).unwrap_or_default()
}

/// Waits until what is known is as it should be.
async fn until(resolver: &mut Resolver, what: &str, is: impl Fn(&Known) -> bool) -> Known {
    let wait = async {
        loop {
            let known = resolver.known();
            if is(&known) {
                return known;
            }
            resolver.changed().await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("{what}: {:?}", resolver.known()))
}

fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}

/// When the TTL is over the name is asked for again, and what DNS says then holds; names are asked for as they are, with
/// no search domain.
#[tokio::test]
async fn follows_dns() {
    let server = Server::start().await;
    server.says("db.example", Says::Addresses(vec![v4(2), v4(1)]));
    let mut resolver = resolver(&server);
    assert!(resolver.is_settled());
    want(&resolver, &["db.example"]);
    assert!(!resolver.is_settled());
    until(&mut resolver, "first", |known| addresses(known, "db.example") == ["192.0.2.1", "192.0.2.2"]).await;
    assert!(resolver.is_settled());
    server.says("db.example", Says::Addresses(vec![v4(3)]));
    until(&mut resolver, "second", |known| addresses(known, "db.example") == ["192.0.2.3"]).await;
    want(&resolver, &[]);
    until(&mut resolver, "forgotten", |known| known.answers.is_empty()).await;
    assert!(server.asked().iter().all(|name| name == "db.example."), "{:?}", server.asked());
}

/// A name that vanishes, and a server that fails, take no address away; what comes after holds again.
#[tokio::test]
async fn failures_keep_the_last() {
    let server = Server::start().await;
    let mut resolver = resolver(&server);
    for says in [Says::NoSuchName, Says::Fails, Says::Addresses(Vec::new())] {
        server.says("db.example", Says::Addresses(vec![v4(1)]));
        want(&resolver, &["db.example"]);
        until(&mut resolver, "at first", |known| addresses(known, "db.example") == ["192.0.2.1"]).await;
        server.says("db.example", says);
        let asked = server.asked().len();
        // Four questions at least are answered so (of one look there may be two: for IPv4 and IPv6).
        let began = Instant::now();
        while server.asked().len() < asked + 4 {
            assert!(began.elapsed() < LIMIT, "it is asked no more");
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert_eq!(addresses(&resolver.known(), "db.example"), ["192.0.2.1"]);
        }
        server.says("db.example", Says::Addresses(vec![v4(2)]));
        until(&mut resolver, "after", |known| addresses(known, "db.example") == ["192.0.2.2"]).await;
    }
}

/// IPv6 is used where there is no IPv4; a name that stands for another brings that name along; a name without addresses is
/// settled all the same.
#[tokio::test]
async fn families_and_aliases() {
    let server = Server::start().await;
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    server.says("both.example", Says::Addresses(vec![v6, v4(1)]));
    server.says("six.example", Says::Addresses(vec![v6]));
    server.says("alias.example", Says::Alias("web.bank.svc.cluster.local.", Ipv4Addr::new(10, 96, 0, 9)));
    let mut resolver = resolver(&server);
    want(&resolver, &["both.example", "six.example", "alias.example", "none.example"]);
    let known = until(&mut resolver, "all", |known| known.settled && known.answers.len() == 3).await;
    assert_eq!(addresses(&known, "both.example"), ["192.0.2.1"]);
    assert_eq!(addresses(&known, "six.example"), ["2001:db8::1"]);
    let alias = &known.answers[&DnsName::parse("alias.example").unwrap()];
    assert_eq!(alias.aliases(), [DnsName::parse("web.bank.svc.cluster.local").unwrap()]);
}

/// An answer with a thousand addresses, which is had over TCP, is cut to the bound.
#[tokio::test]
async fn many_addresses_are_bounded() {
    let server = Server::start().await;
    let many = (0..1_000_u32).map(|number| IpAddr::V4((0x0a00_0000 + number).into()));
    server.says("many.example", Says::Addresses(many.collect()));
    let mut resolver = resolver(&server);
    want(&resolver, &["many.example"]);
    let known = until(&mut resolver, "many", |known| !known.answers.is_empty()).await;
    assert_eq!(addresses(&known, "many.example").len(), ADDRESSES_MAX);
}

/// Where nobody is to be asked, or nobody answers, a name is settled after its first failure and nothing breaks.
#[tokio::test]
async fn nobody_answers() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for servers in [Vec::new(), vec![silent.local_addr().unwrap()]] {
        let book = Book::hasty(Duration::from_millis(20));
        let nameservers = Nameservers::Listed(servers);
        let mut resolver = Resolver::start_with(nameservers, &mut Registry::default(), book);
        want(&resolver, &["db.example"]);
        let known = until(&mut resolver, "settled", |known| known.settled && known.generation == 1).await;
        assert!(known.answers.is_empty() && resolver.is_settled());
    }
}

/// The loss of DNS is one line that counts the names, and the next line waits.
#[test]
fn one_line_for_many_names() {
    let mut complaints = Complaints::default();
    let now = Instant::now();
    for number in 0..100 {
        let name = DnsName::parse(&format!("n{number}.example")).unwrap();
        complaints.hear(&name, Some(News::Lost { reason: "no answer".into(), kept: number }));
    }
    assert_eq!((complaints.count, complaints.due()), (100, None));
    complaints.say(now);
    assert!(complaints.first.is_none() && complaints.count == 0);
    complaints.hear(&DnsName::parse("a.example").unwrap(), Some(News::Lost { reason: "x".into(), kept: 0 }));
    assert_eq!(complaints.due(), Some(now + COMPLAIN));
    complaints.say(now + COMPLAIN / 2);
    assert_eq!(complaints.first.as_deref(), Some("a.example: x; no address is known"));
    complaints.say(now + COMPLAIN);
    assert!(complaints.first.is_none());
}
