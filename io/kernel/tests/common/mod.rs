//! A network namespace per test: entered by a thread of its own, gone when the test ends. Other namespaces are held by
//! a sleeping child each, killed on drop.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::sched::{CloneFlags, setns, unshare};
use tidegate_kernel::Kernel;
use tidegate_plan::{Address, Desired, Filter, NextHop, Observed, Plan, RouteKey, plan};

/// Runs a test in a new network namespace, with a tokio runtime. If that is not permitted, says so, and fails where
/// `TIDEGATE_TEST_ROOT=1` says that it must be.
pub fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            let required = std::env::var_os("TIDEGATE_TEST_ROOT").is_some_and(|value| value == "1");
            assert!(!required, "TIDEGATE_TEST_ROOT=1, but a network namespace needs CAP_SYS_ADMIN ({error})");
            println!("skipped: needs CAP_SYS_ADMIN ({error})");
            return;
        }
        sh("ip link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a shell line in the namespace of this thread; it must succeed. Returns what it prints.
pub fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a shell line succeeds.
pub fn succeeds(line: &str) -> bool {
    Command::new("sh").args(["-ec", line]).output().unwrap().status.success()
}

/// Another network namespace.
pub struct Namespace {
    holder: Child,
}

impl Namespace {
    pub fn new() -> Self {
        // A child that inherits a fresh namespace from the thread that starts it.
        let holder = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let holder = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
            sh("ip link set lo up");
            holder
        });
        Self { holder: holder.join().unwrap() }
    }

    /// The process that stands for it in `ip link set … netns PID`.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// Runs a closure inside.
    pub fn run<T: Send + 'static>(&self, inside: impl FnOnce() -> T + Send + 'static) -> T {
        let path = format!("/proc/{}/ns/net", self.pid());
        let thread = std::thread::spawn(move || {
            setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
            inside()
        });
        thread.join().unwrap()
    }

    /// Runs a shell line inside.
    pub fn sh(&self, line: &str) -> String {
        let line = line.to_owned();
        self.run(move || sh(&line))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A pair of interfaces with 10.1.0.1/24 on `eth0`, the far end being `far0`. Without link-local addresses, whose
/// readiness the kernel announces a second or two later.
pub fn lan() {
    sh("ip link add eth0 type veth peer name far0
        ip link set eth0 addrgenmode none; ip link set far0 addrgenmode none
        ip link set eth0 up; ip link set far0 up
        ip address add 10.1.0.1/24 dev eth0");
}

pub fn address(net: &str, interface: &str) -> Address {
    Address { interface: interface.to_owned(), net: net.parse().unwrap() }
}

pub fn key(net: &str) -> RouteKey {
    RouteKey::new(254, net.parse::<IpNet>().unwrap(), 20)
}

pub fn via(gateways: &[&str]) -> Vec<NextHop> {
    gateways.iter().map(|gateway| NextHop::via(gateway.parse().unwrap())).collect()
}

/// Something of everything.
pub fn full() -> Desired {
    Desired {
        addresses: [
            address("10.9.0.1/32", "lo"),
            address("10.9.0.2/32", "lo"),
            address("2001:db8::9/128", "lo"),
        ]
        .into(),
        routes: [
            (key("10.60.0.0/26"), via(&["10.1.0.11"])),
            (key("10.61.0.0/16"), via(&["10.1.0.11", "10.1.0.12"])),
            (
                key("0.0.0.0/0"),
                vec![NextHop {
                    interface: Some("eth0".into()),
                    onlink: true,
                    ..via(&["172.16.0.1"]).remove(0)
                }],
            ),
            (RouteKey::new(8400, "0.0.0.0/0".parse().unwrap(), 0), vec![NextHop::local()]),
            (RouteKey::new(8400, "::/0".parse().unwrap(), 0), vec![NextHop::local()]),
        ]
        .into(),
        rules: [tidegate_plan::Rule {
            priority: 8400,
            ipv6: false,
            from: Some("10.60.0.0/16".parse().unwrap()),
            to: None,
            mark: Some((0x100, 0xff00)),
            table: 1000,
        }]
        .into(),
        sysctls: tidegate_plan::sysctl::for_gateway(["eth0"]),
        filter: Some(Filter {
            local_addresses: ["10.9.0.1".parse().unwrap(), "10.9.0.2".parse().unwrap()].into(),
            forwarded_addresses: ["10.9.1.1".parse().unwrap()].into(),
            pod_ranges: ["10.60.0.0/16".parse().unwrap(), "240.0.0.0/4".parse().unwrap()].into(),
            pods: ["10.60.0.1".parse().unwrap(), "10.60.0.2".parse().unwrap()].into(),
            pod_class: [("10.60.0.1".parse().unwrap(), 7)].into(),
            egress: [
                ((7, "10.8.0.0/16".parse().unwrap()), tidegate_plan::Egress::To("10.9.1.1".parse().unwrap())),
                ((7, "10.8.3.0/24".parse().unwrap()), tidegate_plan::Egress::Untouched),
                ((7, "10.7.0.0/16".parse().unwrap()), tidegate_plan::Egress::Drop),
            ]
            .into(),
            transparent_endpoints: ["10.60.0.2".parse().unwrap(), "2001:db8::2".parse().unwrap()].into(),
        }),
        ..Desired::default()
    }
}

/// A kernel with an empty state directory.
pub fn open() -> (Kernel, tempfile::TempDir) {
    let state = tempfile::tempdir().unwrap();
    (Kernel::open(state.path()).unwrap(), state)
}

/// Plans and applies; every operation must succeed.
pub async fn converge(kernel: &mut Kernel, desired: &Desired) -> Plan {
    let observed = kernel.observe(desired).await.unwrap();
    let made = plan(desired, &observed);
    let errors: Vec<String> = kernel.apply(&made.ops).await.iter().map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    made
}

/// What is still to do.
pub async fn remaining(kernel: &mut Kernel, desired: &Desired) -> Plan {
    let observed: Observed = kernel.observe(desired).await.unwrap();
    plan(desired, &observed)
}

/// Everything a cleanup must leave as it was: links, addresses, routes, rules, ruleset, settings.
pub fn snapshot() -> Vec<String> {
    let mut parts: Vec<String> = [
        "ip -j link",
        "ip -j address",
        "ip -j route show table all",
        "ip -j -6 route show table all",
        "ip -j rule",
        "ip -j -6 rule",
        "nft -j list ruleset",
    ]
    .iter()
    .map(|line| sh(line))
    .collect();
    parts.push(sh("cd /proc/sys/net/ipv4; grep -r . ip_forward conf | sort"));
    parts
}

/// A process that prints kernel notifications into a file, proven to work at both ends: it must print a stranger's change
/// before it counts as started, and again when it is stopped.
pub struct Listening {
    line: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
    /// Where the proof of the beginning ends.
    from: usize,
    _directory: tempfile::TempDir,
}

impl Listening {
    /// Starts `ip monitor …` or `nft monitor`; what it watches must include routes, or the ruleset.
    pub fn start(line: &str) -> Self {
        // The kernel tells of an IPv6 address once more when nobody else has it.
        eventually("no address is tentative", || sh("ip -6 -o address show tentative").is_empty());
        let directory = tempfile::tempdir().unwrap();
        let (out, err) = (directory.path().join("out"), directory.path().join("err"));
        let mut words = line.split(' ');
        let child = Command::new(words.next().unwrap())
            .args(words)
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap();
        let mut listening = Self { line: line.to_owned(), child, out, err, from: 0, _directory: directory };
        // It needs a moment to listen: the stranger calls until it is heard.
        eventually(&format!("`{line}` prints a stranger's change"), || {
            listening.call();
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(listening.complaint(), "", "of `{line}`");
            listening.heard(0)
        });
        eventually("the stranger's changes are all printed", || {
            listening.from = listening.text().len();
            std::thread::sleep(Duration::from_millis(100));
            listening.text().len() == listening.from
        });
        listening
    }

    /// Ends it and returns what it printed since the start.
    pub fn stop(mut self) -> String {
        std::thread::sleep(Duration::from_millis(100));
        let to = self.text().len();
        self.call();
        eventually(&format!("`{}` still prints a stranger's change", self.line), || self.heard(to));
        assert_eq!(
            self.child.try_wait().unwrap(),
            None,
            "`{}` ended by itself: {}",
            self.line,
            self.complaint()
        );
        assert_eq!(self.complaint(), "", "of `{}`", self.line);
        self.text()[self.from..to].to_owned()
    }

    /// A stranger's change and its undoing.
    fn call(&self) {
        sh(if self.line.starts_with("nft") {
            "nft add table inet canary; nft delete table inet canary"
        } else {
            "ip route add unreachable 192.0.2.99 proto 77; ip route del unreachable 192.0.2.99 proto 77"
        });
    }

    /// Whether both were printed after `from`.
    fn heard(&self, from: usize) -> bool {
        let printed = if self.line.starts_with("nft") {
            ["add table inet canary", "delete table inet canary"]
        } else {
            ["unreachable 192.0.2.99", "Deleted unreachable 192.0.2.99"]
        };
        let text = self.text();
        printed.iter().all(|printed| text[from..].lines().any(|line| line.starts_with(printed)))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    fn complaint(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap()
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(3);
    while !holds() {
        assert!(Instant::now() < until, "not within 3 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
