//! `run --takeover`: another process goes on where one was, and if it cannot, that one goes on.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use tidegate_handover::{Channel, Message, PROTOCOL};

use crate::http;
use crate::origin::{Origin, SLOW_BODY};
use crate::place::{Daemon, ended, pause};
use crate::stop::start;

const SOON: Duration = Duration::from_secs(10);

fn hello() -> Message {
    Message::Hello { protocol: PROTOCOL, version: "test".into() }
}

fn connect(daemon: &Daemon) -> Channel {
    Channel::connect(&daemon.place.path("state/handover.sock")).unwrap()
}

/// Reads what the daemon says until it has said `end`.
fn hear(channel: &Channel, end: &Message) {
    while channel.receive(SOON).unwrap().0 != *end {}
}

/// Requests go on through three hand-overs without one that fails, an answer under way arrives whole, each process ends once
/// its last connection has, and nothing is left of the one that takes over last but itself.
#[test]
fn three_in_a_row() {
    let origin = Origin::start("web");
    let mut daemon = start("", &origin);
    let address = ([127, 0, 0, 1], daemon.place.port).into();
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let asks = || {
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(http::get(address, "any.example", "/").unwrap().status, 200);
                served.fetch_add(1, Ordering::SeqCst);
            }
        };
        let clients = [scope.spawn(asks), scope.spawn(asks)];
        for _ in 0..3 {
            let slow = http::send(address, "any.example", "/slow", "").unwrap();
            origin.half_way.recv().unwrap();
            let mut before = daemon.hand_over();
            let answer = http::read(slow).unwrap();
            assert_eq!((answer.status, answer.body.as_str()), (200, SLOW_BODY));
            let status = ended(&mut before).unwrap_or_else(|| panic!("it does not end\n{}", daemon.log()));
            assert_eq!(status.code(), Some(0), "{}", daemon.log());
            let seen = served.load(Ordering::SeqCst);
            daemon.eventually("requests", || (served.load(Ordering::SeqCst) > seen + 5).then_some(()));
        }
        stop.store(true, Ordering::SeqCst);
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    let metrics = daemon.admin("/metrics").body;
    assert!(metrics.lines().any(|line| line.starts_with("tidegate_handover_sockets ")), "{metrics}");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    assert!(!daemon.place.path("state/handover.sock").exists());
}

/// The status names who still drains, with its connections, until they have ended; also over a further hand-over.
#[test]
fn draining_is_told() {
    let origin = Origin::start("web");
    let mut daemon = start("", &origin);
    let idle = std::net::TcpStream::connect(("127.0.0.1", daemon.place.port)).unwrap();
    daemon.eventually("the connection", || {
        daemon.admin("/metrics").body.contains("tidegate_http_open_connections 1").then_some(())
    });
    let first = daemon.pid();
    let mut before = daemon.hand_over();
    let tells = |daemon: &Daemon| {
        let draining = serde_json::json!([{ "pid": first, "connections": 1 }]);
        (daemon.status()["draining"] == draining).then_some(())
    };
    daemon.eventually("who drains", || tells(&daemon));
    let mut second = daemon.hand_over();
    assert!(ended(&mut second).is_some_and(|status| status.success()), "{}", daemon.log());
    daemon.eventually("who drains, told by the third", || tells(&daemon));
    drop(idle);
    assert!(ended(&mut before).is_some_and(|status| status.success()), "{}", daemon.log());
    daemon.eventually("nobody drains", || daemon.status().get("draining").is_none().then_some(()));
}

/// A process that asked and then hangs keeps nobody waiting: the next one takes over, and the one that hangs is told.
#[test]
fn one_that_hangs_is_passed_over() {
    let origin = Origin::start("web");
    let mut daemon = start("", &origin);
    let hangs = connect(&daemon);
    hangs.send(&hello(), &[], SOON).unwrap();
    hear(&hangs, &Message::Prepared);
    let mut before = daemon.hand_over();
    assert!(ended(&mut before).is_some_and(|status| status.success()), "{}", daemon.log());
    assert_eq!(daemon.get("any.example", "/").status, 200);
    assert!(daemon.log().contains("another process asks in its place"), "{}", daemon.log());
    assert!(hangs.send(&Message::TakeOver, &[], SOON).is_err());
}

/// A process that is ending hands nothing over, also to one that had begun to ask.
#[test]
fn one_that_ends_hands_nothing_over() {
    let origin = Origin::start("web");
    let mut daemon = start("", &origin);
    let late = connect(&daemon);
    late.send(&hello(), &[], SOON).unwrap();
    hear(&late, &Message::Prepared);
    let slow = http::send(([127, 0, 0, 1], daemon.place.port).into(), "any.example", "/slow", "").unwrap();
    origin.half_way.recv().unwrap();
    daemon.signal(Signal::SIGTERM);
    daemon.eventually("that it is not ready", || (daemon.admin("/readyz").status == 503).then_some(()));
    late.send(&Message::TakeOver, &[], SOON).unwrap();
    let refused = late.receive(SOON).unwrap_err().to_string();
    assert!(refused.contains("is ending"), "{refused}");
    assert_eq!(http::read(slow).unwrap().body, SLOW_BODY);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
}

/// Whatever another process does before it has taken over, the one that runs goes on, and the next may take over.
#[test]
fn failures_change_nothing() {
    let origin = Origin::start("web");
    let mut daemon = start("", &origin);
    let serves = |daemon: &Daemon| assert_eq!(daemon.get("any.example", "/").status, 200);
    // It cannot read its settings, and does not even ask.
    let wrong = daemon.place.refused(&["--takeover", "--config", "nowhere.yaml"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.err);
    serves(&daemon);
    // It speaks another protocol.
    let channel = connect(&daemon);
    channel.send(&Message::Hello { protocol: 99, version: "9".into() }, &[], SOON).unwrap();
    let refused = channel.receive(SOON).unwrap_err().to_string();
    assert!(refused.contains("protocol 99"), "{refused}");
    // It dies before it could serve; with everything in its hands; and before it says that it has it.
    for ends_after in 0..3 {
        let channel = connect(&daemon);
        channel.send(&hello(), &[], SOON).unwrap();
        if ends_after > 0 {
            hear(&channel, &Message::Prepared);
            channel.send(&Message::TakeOver, &[], SOON).unwrap();
        }
        if ends_after > 1 {
            hear(&channel, &Message::Complete);
        }
        drop(channel);
        serves(&daemon);
    }
    // It says what makes no sense.
    let channel = connect(&daemon);
    channel.send(&Message::Taken, &[], SOON).unwrap();
    assert!(channel.receive(SOON).is_err());
    daemon.eventually("five failures", || {
        daemon.admin("/metrics").body.contains("tidegate_handover_failures_total 5").then_some(())
    });
    let mut before = daemon.hand_over();
    assert!(ended(&mut before).is_some_and(|status| status.success()), "{}", daemon.log());
    serves(&daemon);
}

/// Without `--takeover` a second start fails, also after a hand-over; with it and nobody there it is a start like any other.
#[test]
fn one_at_a_time() {
    let origin = Origin::start("web");
    let mut daemon = start("", &origin);
    let manifests = daemon.place.manifests();
    let second = ["--config", "tidegate.yaml", "--manifests", manifests.as_str()];
    let refused = |daemon: &Daemon| {
        let answer = daemon.place.refused(&second);
        assert!(
            answer.code == Some(2) && answer.err.contains("another tidegate runs on stateDir"),
            "{}",
            answer.err
        );
    };
    refused(&daemon);
    ended(&mut daemon.hand_over());
    refused(&daemon);
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    let mut alone = daemon.place.run(&["--node", "gw1", "--takeover"], "alone.log");
    daemon.eventually("a plain start", || {
        http::get(([127, 0, 0, 1], daemon.place.port).into(), "any.example", "/").ok()
    });
    alone.kill().unwrap();
    alone.wait().unwrap();
    let log = fs::read_to_string(daemon.place.path("alone.log")).unwrap();
    assert!(log.contains("started without a hand-over"), "{log}");
}

/// The service manager is told who serves, at the start and after a hand-over; `--background` returns once the new process does.
#[test]
fn the_service_manager_is_told() {
    let origin = Origin::start("web");
    let mut daemon = start("", &origin);
    let path = daemon.place.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    // Beside it the watchdog hears of the new process, now and then.
    let alive = Cell::new(0);
    let heard = || {
        loop {
            let mut room = [0; 512];
            let count = manager.recv(&mut room).unwrap();
            let told = String::from_utf8_lossy(&room[..count]).into_owned();
            if told != "WATCHDOG=1" {
                return told;
            }
            alive.set(alive.get() + 1);
        }
    };
    let first = daemon.pid();
    let mut reload = daemon.place.run(&["--node", "gw1", "--takeover", "--background"], "log");
    assert!(ended(&mut reload).is_some_and(|status| status.success()), "{}", daemon.log());
    let told = heard();
    let new: i32 = told.lines().find_map(|line| line.strip_prefix("MAINPID=")?.parse().ok()).unwrap();
    assert_eq!(told, format!("READY=1\nMAINPID={new}\nSTATUS=took over from process {first}"));
    assert!(daemon.wait().success(), "{}", daemon.log());
    assert_eq!(daemon.get("any.example", "/").status, 200);
    // Of a process that the test did not start: only its end is told.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(new), Signal::SIGTERM).unwrap();
    assert_eq!(heard(), "STOPPING=1");
    assert!(alive.get() > 0, "the watchdog was not told");
    while fs::exists(format!("/proc/{new}")).unwrap() {
        pause();
    }
    // Where the new process fails the command fails, and says so.
    let failed = daemon.place.refused(&["--takeover", "--background", "--config", "nowhere.yaml"]);
    assert!(failed.code == Some(2) && failed.err.contains("has ended"), "{}", failed.err);
}
