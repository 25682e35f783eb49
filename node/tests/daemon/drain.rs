//! `tidegate drain --endpoint`: one endpoint gets nothing new until it is taken back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::change;
use crate::http;
use crate::origin::{Origin, SLOW_BODY};
use crate::place::{Daemon, ended};

fn who(daemon: &Daemon) -> String {
    daemon.get("shop.example", "/").body.lines().next().unwrap().to_owned()
}

fn both_are_asked(daemon: &Daemon) {
    for name in ["a", "b"] {
        daemon.eventually("both are asked", || (who(daemon) == name).then_some(()));
    }
}

/// A drained endpoint answers what it was asked and is asked nothing more, over a change of membership and a hand-over too;
/// status and metrics show it; taken back, it takes part again.
#[test]
fn out_and_back() {
    let (a, b) = (Origin::start("a"), Origin::start("b"));
    let mut daemon = change::start(&[&a, &b]);
    both_are_asked(&daemon);
    let endpoint = format!("127.0.0.1:{}", b.port);
    let drain = |daemon: &Daemon, more: &[&str]| {
        daemon.place.tidegate(&[&["drain", "--endpoint", &endpoint], more].concat())
    };
    let address = ([127, 0, 0, 1], daemon.place.port).into();
    let slow = daemon.eventually("a slow answer of b", || {
        let slow = http::send(address, "shop.example", "/slow", "").unwrap();
        b.half_way.recv_timeout(Duration::from_millis(500)).is_ok().then_some(slow)
    });
    let answer = drain(&daemon, &[]);
    answer
        .exits(0)
        .prints(&format!("{endpoint} gets nothing new"))
        .prints(&format!("drained by hand: {endpoint}"));
    assert!(answer.out.contains("shop/web:80"), "{}", answer.out);
    assert_eq!(http::read(slow).unwrap().body, SLOW_BODY);
    let stays_out = |daemon: &Daemon| {
        for _ in 0..20 {
            assert_eq!(who(daemon), "a");
        }
        let status = daemon.status();
        assert_eq!(status["drained"], json!([endpoint]));
        let impaired = &status["services"][0]["impaired"][0];
        assert_eq!((&impaired["address"], &impaired["draining"]), (&json!(endpoint), &json!(true)));
    };
    stays_out(&daemon);
    let metric = "tidegate_backend_drained_endpoints{backend=\"shop/web:80\"} 1";
    assert!(daemon.admin("/metrics").body.contains(metric));
    assert!(daemon.place.tidegate(&["status", "services"]).out.contains("drained, 0 under way"));
    let services = |count: usize| {
        daemon.eventually("the membership", || {
            (daemon.status()["services"][0]["endpoints"].as_array().unwrap().len() == count).then_some(())
        });
    };
    daemon.place.put("endpoints.yaml", &change::slices(&[&a]));
    services(1);
    daemon.place.put("endpoints.yaml", &change::slices(&[&a, &b]));
    services(2);
    stays_out(&daemon);
    let mut before = daemon.hand_over();
    assert!(ended(&mut before).is_some_and(|status| status.success()), "{}", daemon.log());
    stays_out(&daemon);
    drain(&daemon, &["--undo"]).exits(0).prints(&format!("{endpoint} takes part again"));
    both_are_asked(&daemon);
    assert!(daemon.status().get("drained").is_none());
    let again = drain(&daemon, &["--undo"]);
    again.exits(1).complains(&format!("{endpoint} is not drained"));
}

/// An endpoint that nobody has yet may be drained, and the answer says so; what is no endpoint is refused before anybody is
/// asked.
#[test]
fn strangers() {
    let a = Origin::start("a");
    let daemon = change::start(&[&a]);
    let drain = |endpoint: &str| daemon.place.tidegate(&["drain", "--endpoint", endpoint]);
    let nobody = "no Service that a route leads to has 10.9.9.9 now; it is left out when it comes";
    drain("10.9.9.9").exits(0).prints(nobody);
    let wrong = drain("web");
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("`web` is no endpoint"), "{}", wrong.err);
    daemon.place.tidegate(&["drain"]).exits(2);
}

/// A page elsewhere, which a browser would let send a form but no JSON, drains nothing.
#[test]
fn pages_elsewhere_cannot() {
    let a = Origin::start("a");
    let daemon = change::start(&[&a]);
    let body = format!("{{\"endpoint\":\"127.0.0.1:{}\"}}", a.port);
    let ask = |line: &str, media: &str| {
        let mut stream = TcpStream::connect(daemon.place.admin).unwrap();
        write!(
            stream,
            "{line} /api/v1/drain/endpoint HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {media}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(ask("POST", "text/plain"), "415");
    assert_eq!(ask("POST", "application/x-www-form-urlencoded"), "415");
    assert_eq!(ask("GET", "application/json"), "405");
    assert_eq!(ask("OPTIONS", "application/json"), "405");
    assert_eq!(daemon.get("shop.example", "/").status, 200);
    assert_eq!(ask("POST", "application/json"), "200");
    assert_eq!(daemon.get("shop.example", "/").status, 503);
}
