//! What lines look like, whatever a client sends; where they go, and what happens when they cannot.

use std::io::Read;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Instant, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

/// 2000-10-10T13:55:36.000042Z, of Apache's manual.
fn then() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(971_186_136_000_042)
}

/// The line of a record.
fn line(format: &str, fields: &[&str], record: &Record<'_>) -> String {
    let fields: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
    let (layout, mut stamp, mut out) = (Layout::of(format, &fields).unwrap(), Stamp::default(), Vec::new());
    stamp.set(then());
    layout.write(record, &mut stamp, &mut out);
    String::from_utf8(out).unwrap()
}

fn sample() -> Record<'static> {
    Record {
        client: Some([192, 0, 2, 7].into()),
        peer: Some(SocketAddr::new("2001:db8::1".parse().unwrap(), 4711)),
        listener: "shop/edge/http",
        host: "shop.example",
        method: "GET",
        path: "/a b",
        query: Some("q=1"),
        protocol: "HTTP/1.1",
        status: 200,
        route: Some(&"shop/web"),
        endpoint: Some(([10, 0, 0, 1], 8080).into()),
        bytes_in: 1,
        bytes_out: 2326,
        duration_us: 3,
        upstream_us: u64::MAX,
        request_id: "r1",
        trace_id: Some([0xab; 16]),
        user_agent: b"curl/8 \"x\"",
        referer: b"http://ref.example/",
        ..Record::default()
    }
}

/// Each format writes a record as those who read it expect.
#[test]
fn formats() {
    let all = "{\"time\":\"2000-10-10T13:55:36.000042Z\",\"client\":\"192.0.2.7\",\
        \"peer\":\"[2001:db8::1]:4711\",\"listener\":\"shop/edge/http\",\"host\":\"shop.example\",\
        \"method\":\"GET\",\"path\":\"/a b\",\"protocol\":\"HTTP/1.1\",\"status\":200,\"reason\":\"\",\
        \"route\":\"shop/web\",\"backend\":\"\",\"endpoint\":\"10.0.0.1:8080\",\"bytes_in\":1,\
        \"bytes_out\":2326,\"duration_us\":3,\"upstream_us\":18446744073709551615,\"request_id\":\"r1\",\
        \"trace_id\":\"abababababababababababababababab\",\"tls\":\"\",\"user_agent\":\"curl/8 \\\"x\\\"\"}\n";
    let begin = "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"GET /a b?q=1 HTTP/1.1\" 200 2326";
    for (format, fields, expected) in [
        ("json", &[][..], all.to_owned()),
        ("", &["status", "host"], "{\"status\":200,\"host\":\"shop.example\"}\n".to_owned()),
        (
            "logfmt",
            &["path", "reason", "status", "user_agent"],
            "path=\"/a b\" reason=\"\" status=200 user_agent=\"curl/8 \\\"x\\\"\"\n".to_owned(),
        ),
        ("common", &[], format!("{begin}\n")),
        ("combined", &[], format!("{begin} \"http://ref.example/\" \"curl/8 \\x22x\\x22\"\n")),
        (
            "%{client} 100% \"%{user_agent}\"%{backend}",
            &[],
            "192.0.2.7 100% \"curl/8 \\x22x\\x22\"-\n".into(),
        ),
    ] {
        assert_eq!(line(format, fields, &sample()), expected, "{format}");
    }
    // What was no request: nothing is known but the status.
    let nothing = Record { status: 400, ..Record::default() };
    let expected = "- - - [10/Oct/2000:13:55:36 +0000] \"-\" 400 0 \"-\" \"-\"\n";
    assert_eq!(line("combined", &[], &nothing), expected);
}

/// Formats and fields that do not exist are refused with what would be right.
#[test]
fn mistakes() {
    for (format, fields, expected) in [
        ("json", &["stats"][..], "there is no field `stats`; there are time, client,"),
        ("jsn", &[], "`jsn` is no format; use json, logfmt, common, combined, or a text"),
        ("combined", &["host"], "fields choose those of json and logfmt"),
        ("%{host} %{stats}", &[], "`%{stats}`: there is no field `stats`; there are time, client,"),
        ("%{host", &[], "a `%{` has no `}`"),
        ("%{host}\n%{path}", &[], "a line is one line"),
    ] {
        let fields: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
        let error = AccessLog::check(format, &fields).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

/// Outputs are read as they are written in the settings.
#[test]
fn outputs() {
    let remote = |text: &str| AccessLogOutput::Syslog(SyslogReceiver::Remote(text.parse().unwrap()));
    for (text, expected) in [
        ("off", AccessLogOutput::Off),
        ("stderr", AccessLogOutput::Stderr),
        ("/var/log/a", AccessLogOutput::File("/var/log/a".into())),
        ("syslog", AccessLogOutput::Syslog(SyslogReceiver::Local("/dev/log".into()))),
        ("syslog://192.0.2.1", remote("192.0.2.1:514")),
        ("syslog://192.0.2.1:1514", remote("192.0.2.1:1514")),
        ("syslog://[2001:db8::1]", remote("[2001:db8::1]:514")),
        ("syslog://[2001:db8::1]:1", remote("[2001:db8::1]:1")),
    ] {
        assert_eq!(AccessLogOutput::parse(text), Ok(expected), "{text}");
    }
    for text in ["", "syslog://", "syslog://loghost", "syslog://192.0.2.1:x"] {
        assert!(AccessLogOutput::parse(text).is_err(), "{text}");
    }
}

/// The parts of a line of logfmt.
fn read_logfmt(line: &str) -> Vec<(String, String)> {
    let (mut rest, mut found) = (line, Vec::new());
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut escaped = false;
                let end = quoted.find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                let (value, after) = quoted.split_at(end.unwrap());
                (serde_json::from_str(&format!("\"{value}\"")).unwrap(), &after[1..])
            }
            None => {
                let (value, after) = after.split_at(after.find(' ').unwrap_or(after.len()));
                (value.to_owned(), after)
            }
        };
        found.push((key.to_owned(), value));
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    assert_eq!(rest, "");
    found
}

/// What nginx's escapes stand for.
fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some((plain, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(plain.as_bytes());
        bytes.push(u8::from_str_radix(&after[..2], 16).unwrap());
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// No format lets a request begin a line, end its quotes or send a control character, and each gives back what was sent.
fn check_injection(host: &str, path: &str, agent: &[u8]) {
    let record = Record { host, path, method: "GET", user_agent: agent, referer: agent, ..sample() };
    let whole = String::from_utf8_lossy(agent);
    let is_safe = |line: &str| {
        let line = line.strip_suffix('\n').unwrap();
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{2028}'), "{line:?}");
        line.to_owned()
    };
    let json = is_safe(&line("json", &[], &record));
    let json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!((json.len(), &json["host"], &json["path"]), (21, &host.into(), &path.into()));
    assert_eq!(json["user_agent"], *whole);
    let logfmt = read_logfmt(&is_safe(&line("logfmt", &["host", "user_agent", "status"], &record)));
    let expected = [("host", host), ("user_agent", &whole), ("status", "200")];
    assert_eq!(logfmt, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let combined = is_safe(&line("combined", &[], &record));
    let parts: Vec<&str> = combined.split('"').collect();
    assert_eq!(parts.len(), 7, "{combined}");
    assert_eq!(unescape(parts[1]), format!("GET {path}?q=1 HTTP/1.1").as_bytes());
    let or_dash = if agent.is_empty() { b"-" } else { agent };
    assert_eq!(unescape(parts[5]), or_dash);
    let text = is_safe(&line("<%{host}|%{user_agent}>", &[], &record));
    assert!(!text.contains('"') && text.starts_with('<') && text.ends_with('>'), "{text}");
}

/// Line ends, escape sequences, quotes and broken UTF-8 stay what they are: values.
#[test]
fn nothing_breaks_out() {
    let nasty = "a\"b\\c\r\n\u{1b}[31m{\"status\":200}\u{2028}\u{9b}2J\0\u{7f} x=y \\x22";
    check_injection(nasty, nasty, nasty.as_bytes());
    check_injection("", "", b"");
    check_injection("h", "/", b"\xff\xfe\"\n\xc3(\xe2\x82\"\r\\");
    let name: &dyn std::fmt::Display = &nasty;
    let json = line("json", &["route"], &Record { route: Some(name), ..Record::default() });
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["route"], nasty);
}

proptest! {
    /// The same for whatever comes.
    #[test]
    fn nothing_random_breaks_out(host: String, path: String, agent: Vec<u8>) {
        // An escape of ours in a test's input would be read back as one.
        prop_assume!(!path.contains("\\x"));
        check_injection(&host, &path, &agent);
    }
}

fn logger(output: AccessLogOutput, drops: &Counter) -> Logger {
    let settings = AccessLog { output, fields: vec!["status".into()], ..AccessLog::default() };
    Logger::start(&settings, drops.clone()).unwrap()
}

fn status(status: u16) -> Record<'static> {
    Record { status, ..Record::default() }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A file moved away gets the lines before the reopening, a new one those after it.
#[test]
fn the_file_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
    let log = logger(AccessLogOutput::File(path.clone()), &Counter::default());
    log.sheet().write(&status(201));
    until("the first line", || !text(&path).is_empty());
    std::fs::rename(&path, &moved).unwrap();
    log.reopen();
    until("a new file, though nothing is written", || path.exists());
    log.sheet().write(&status(202));
    drop(log);
    assert_eq!(text(&moved), "{\"status\":201}\n");
    assert_eq!(text(&path), "{\"status\":202}\n");
}

/// Through twenty rotations under load no line is lost, and none is there twice.
#[test]
fn rotations_lose_nothing() {
    const LINES: u16 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let drops = Counter::default();
    let log = logger(AccessLogOutput::File(path.clone()), &drops);
    let mut sheet = log.sheet();
    let writer = std::thread::spawn(move || {
        for number in 0..LINES {
            sheet.write(&status(number));
            if number % 100 == 0 {
                sheet.hand_over();
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    });
    for turn in 0..20 {
        until("a file", || path.exists());
        std::fs::rename(&path, folder.path().join(format!("log.{turn}"))).unwrap();
        log.reopen();
    }
    writer.join().unwrap();
    drop(log);
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| text(&entry.unwrap().path()));
    let all = files.collect::<String>();
    let mut numbers: Vec<u16> =
        all.lines().map(|line| line["{\"status\":".len()..line.len() - 1].parse().unwrap()).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..LINES) && drops.get() == 0, "{} dropped", drops.get());
}

/// A queue that is full loses lines, counts them, and never waits.
#[test]
fn a_full_queue_drops_and_counts() {
    let drops = Counter::default();
    let (queue, _messages) = sync_channel(1);
    let mut sheet = logger(AccessLogOutput::Off, &drops).sheet();
    sheet.queue = Some(queue);
    for _ in 0..3 {
        sheet.write(&Record::default());
        sheet.hand_over();
    }
    assert_eq!(drops.get(), 2);
}

/// A disk that is full loses lines and counts them; the process goes on.
#[test]
fn a_full_disk_drops_and_counts() {
    let drops = Counter::default();
    let log = logger(AccessLogOutput::File("/dev/full".into()), &drops);
    let mut sheet = log.sheet();
    (0..5).for_each(|_| sheet.write(&status(200)));
    drop(sheet);
    drop(log);
    assert_eq!(drops.get(), 5);
}

/// Sheets come back from the writer: many lines need no further memory.
#[test]
fn sheets_are_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = logger(AccessLogOutput::File(path.clone()), &Counter::default());
    let mut sheet = log.sheet();
    for turn in 1..=10 {
        sheet.write(&status(200));
        sheet.hand_over();
        until("a spare sheet", || text(&path).lines().count() == turn && spares(&log) == 1);
    }
}

fn spares(log: &Logger) -> usize {
    log.common.spares.lock().unwrap().len()
}

/// The machine's own syslog gets one datagram for each line, and one that is started anew is found again.
#[test]
fn syslog_of_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let drops = Counter::default();
    let log = logger(AccessLogOutput::Syslog(SyslogReceiver::Local(path.clone())), &drops);
    let mut sheet = log.sheet();
    sheet.write(&status(200));
    sheet.hand_over();
    until("nobody is there: the line is lost and counted", || drops.get() == 1);
    let expected = |status| format!("<134>tidegate[{}]: {{\"status\":{status}}}", std::process::id());
    for turn in 0..2 {
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut room = [0; 200];
        // Lines of the turn before may still be on their way.
        until("the line", || {
            sheet.write(&status(201 + turn));
            sheet.hand_over();
            let count = socket.recv(&mut room).unwrap_or_default();
            room[..count] == *expected(201 + turn).as_bytes()
        });
    }
}

/// Another machine gets RFC 5424: priority, version, time, host, name, process, kind of message, no structured data.
#[test]
fn syslog_of_another_machine() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let receiver = SyslogReceiver::Remote(socket.local_addr().unwrap());
    let log = logger(AccessLogOutput::Syslog(receiver), &Counter::default());
    log.sheet().write(&status(200));
    let mut room = [0; 500];
    let count = socket.recv(&mut room).unwrap();
    let message = std::str::from_utf8(&room[..count]).unwrap();
    let parts: Vec<&str> = message.splitn(8, ' ').collect();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!((parts[0], parts[2], parts[3]), ("<134>1", host.trim(), "tidegate"));
    assert!(parts[1].parse::<jiff::Timestamp>().is_ok(), "{message}");
    assert_eq!(parts[4..], [&*std::process::id().to_string(), "access", "-", "{\"status\":200}"]);
}

/// A syslog daemon that does not read costs lines, which are counted, and holds up neither workers nor the end.
#[test]
fn a_reader_that_does_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    let drops = Counter::default();
    let log = logger(AccessLogOutput::Syslog(SyslogReceiver::Local(path)), &drops);
    let mut sheet = log.sheet();
    until("lines are dropped", || {
        sheet.write(&status(200));
        sheet.hand_over();
        drops.get() > 0
    });
    drop(sheet);
    drop(log);
    // It was not read: the writer still waits for it.
    let mut bytes = [0; 100];
    assert!(socket.recv(&mut bytes).unwrap() > 0);
}

/// A client may make a line longer than a datagram; what is sent is its beginning.
#[test]
fn long_lines_are_cut_for_syslog() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let settings = AccessLog {
        output: AccessLogOutput::Syslog(SyslogReceiver::Local(path)),
        format: "%{path}".into(),
        fields: vec![],
    };
    let log = Logger::start(&settings, Counter::default()).unwrap();
    log.sheet().write(&Record { path: &"x".repeat(100_000), ..Record::default() });
    let mut bytes = vec![0; 200_000];
    assert_eq!(socket.recv(&mut bytes).unwrap(), 60_000);
}

/// A descriptor given to us by a shell is a file too.
#[test]
fn a_pipe_is_a_file() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
    let log = logger(AccessLogOutput::File(path.into()), &Counter::default());
    log.sheet().write(&status(204));
    drop((log, writer));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "{\"status\":204}\n");
}
