//! Open-loop load from inside a namespace: requests leave on a fixed beat, whether or not earlier ones were answered.
//! A failed request is recorded, never tried again.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::LocalSet;

use crate::gap::{Outcome, Record};
use crate::http::{Head, Reader};
use crate::netns::Netns;

/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(8);
/// Records kept; at 1,000 requests a second, a quarter of an hour.
const RECORDS_MAX: usize = 1_000_000;
/// Requests under way at once; beyond, a request fails at once and says so.
const UNDER_WAY_MAX: usize = 4_000;

type Records = Mutex<Vec<Record>>;

/// Requests ended so far, by the namespace that they left from, for a table that shows them as they come.
static ENDED: Mutex<BTreeMap<Netns, usize>> = Mutex::new(BTreeMap::new());

/// How many requests ended so far, by the namespace that they left from; it only grows.
pub fn ended() -> BTreeMap<Netns, usize> {
    ENDED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
}

/// What to send, and how often.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the client stands.
    pub from: Netns,
    /// Whom it asks.
    pub target: SocketAddr,
    /// The Host field.
    pub host: String,
    /// The path.
    pub path: String,
    /// Further header lines, without line ends.
    pub fields: Vec<String>,
    /// Requests a second.
    pub rate: u32,
    /// Connections kept open; 0: a new one for each request.
    pub kept: usize,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status and header fields.
    pub head: Head,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Who answered.
    pub fn who(&self) -> String {
        self.json()["who"].as_str().unwrap_or_default().to_owned()
    }
}

/// Load under way.
#[derive(Debug)]
pub struct Load {
    records: Arc<Records>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
    epoch: Instant,
}

impl Plan {
    /// A GET of `/` at `rate` requests a second, each on a new connection.
    pub fn new(from: Netns, target: impl Into<SocketAddr>, host: &str, rate: u32) -> Plan {
        let (target, host, path) = (target.into(), host.to_owned(), "/".to_owned());
        Plan { from, target, host, path, fields: Vec::new(), rate, kept: 0 }
    }

    /// The same over connections that are kept open.
    pub fn kept(self, kept: usize) -> Plan {
        Plan { kept, ..self }
    }

    /// The same for another path.
    pub fn path(self, path: &str) -> Plan {
        Plan { path: path.to_owned(), ..self }
    }

    /// The same with one more header line.
    pub fn field(mut self, line: &str) -> Plan {
        self.fields.push(line.to_owned());
        self
    }

    /// Begins.
    pub fn start(self) -> Load {
        let (records, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let epoch = Instant::now();
        let thread = std::thread::spawn({
            let (records, stop) = (records.clone(), stop.clone());
            move || self.run(records, stop, epoch)
        });
        Load { records, stop, thread: Some(thread), epoch }
    }

    /// Asks once on a connection of its own, and waits for the answer.
    pub fn ask(&self) -> Result<Answer> {
        self.from.inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let asked = async { Connection::open(self.target).await?.ask(&self.request()).await };
            runtime.block_on(async { Ok(tokio::time::timeout(PATIENCE, asked).await??) })
        })
    }

    fn request(&self) -> Vec<u8> {
        let mut request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n", self.path, self.host);
        if self.kept == 0 {
            request += "Connection: close\r\n";
        }
        for line in &self.fields {
            request += &format!("{line}\r\n");
        }
        (request + "\r\n").into_bytes()
    }

    fn run(self, records: Arc<Records>, stop: Arc<AtomicBool>, epoch: Instant) -> Result<()> {
        self.from.enter()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, self.beat(records, stop, epoch));
        Ok(())
    }

    async fn beat(self, records: Arc<Records>, stop: Arc<AtomicBool>, epoch: Instant) {
        let client =
            Rc::new(Client { request: self.request(), plan: self, idle: RefCell::default(), epoch, records });
        let mut under_way = tokio::task::JoinSet::new();
        let began = Instant::now();
        for beat in 0_u32.. {
            tokio::time::sleep_until((began + Duration::from_secs(1) * beat / client.plan.rate).into()).await;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            while under_way.try_join_next().is_some() {}
            match under_way.len() {
                UNDER_WAY_MAX.. => {
                    client.record(epoch.elapsed(), Outcome::Failed("too many under way".into()))
                }
                _ => drop(under_way.spawn_local(client.clone().one())),
            }
        }
        under_way.join_all().await;
    }
}

impl Load {
    /// What was recorded so far.
    pub fn so_far(&self) -> Vec<Record> {
        self.lock().clone()
    }

    /// Time since the load began, the scale of its records.
    pub fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Sends nothing more, waits for what is under way, and gives all records.
    pub fn stop(mut self) -> Result<Vec<Record>> {
        self.finish()?;
        Ok(std::mem::take(&mut *self.lock()))
    }

    fn finish(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(anyhow!("the load's thread panicked")),
            Some(Ok(ended)) => ended,
            None => Ok(()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Record>> {
        self.records.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Not joined: a scenario that failed does not wait for answers that never come.
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Client {
    plan: Plan,
    request: Vec<u8>,
    idle: RefCell<VecDeque<Connection>>,
    epoch: Instant,
    records: Arc<Records>,
}

impl Client {
    async fn one(self: Rc<Self>) {
        let start = self.epoch.elapsed();
        let outcome = match tokio::time::timeout(PATIENCE, self.clone().ask()).await {
            Ok(Ok(answer)) if answer.head.status() == Some(200) && !answer.who().is_empty() => {
                Outcome::Answered(answer.who())
            }
            Ok(Ok(answer)) => Outcome::Failed(answer.head.first_line),
            Ok(Err(error)) => Outcome::Failed(error.to_string()),
            Err(_) => Outcome::Failed(format!("no answer in {} s", PATIENCE.as_secs())),
        };
        self.record(start, outcome);
    }

    async fn ask(self: Rc<Self>) -> io::Result<Answer> {
        let idle = self.idle.borrow_mut().pop_front();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(self.plan.target).await?,
        };
        let answer = connection.ask(&self.request).await?;
        if !answer.head.closes() && self.idle.borrow().len() < self.plan.kept {
            self.idle.borrow_mut().push_back(connection);
        }
        Ok(answer)
    }

    fn record(&self, start: Duration, outcome: Outcome) {
        let mut ended = ENDED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *ended.entry(self.plan.from.clone()).or_default() += 1;
        drop(ended);
        let mut records = self.records.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if records.len() < RECORDS_MAX {
            records.push(Record { start, end: self.epoch.elapsed(), outcome });
        }
    }
}

struct Connection {
    reader: Reader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Connection {
    async fn open(target: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        Ok(Connection { reader: Reader::new(read), write })
    }

    async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.write.write_all(request).await?;
        let closed = || io::Error::new(io::ErrorKind::UnexpectedEof, "closed instead of answered");
        let head = self.reader.head().await?.ok_or_else(closed)?;
        let body = self.reader.body(&head).await?;
        Ok(Answer { head, body })
    }
}
