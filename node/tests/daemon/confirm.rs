//! A folder that is empty all at once is held, and `tidegate confirm` has it believed.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::place::Place;

fn namespaces() -> String {
    let one = |n: usize| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: n{n}}}\n");
    (0..12).map(one).collect::<Vec<_>>().join("---\n")
}

/// What is held stays in force, is told in the status, and goes when it is confirmed; a name that no source has is refused
/// with those that there are, and a question that a page elsewhere could send is not taken.
#[test]
fn held_and_confirmed() {
    let place = Place::new();
    place.put("all.yaml", &namespaces());
    let daemon = place.start();
    let source = || daemon.status()["sources"][0].clone();
    assert_eq!(source()["objects"], 12);
    daemon.place.remove("all.yaml");
    daemon.eventually("held", || source()["held"].is_array().then_some(()));
    assert_eq!(source()["objects"], 12);
    let shown = daemon.place.tidegate(&["status"]);
    assert!(shown.out.contains("`tidegate confirm manifests` believes it now"), "{}", shown.out);

    let unknown = daemon.place.tidegate(&["confirm", "green"]);
    assert_eq!(unknown.code, Some(1), "{}", unknown.out);
    assert!(unknown.err.contains("no source named green; there are: manifests"), "{}", unknown.err);
    let mut stream = TcpStream::connect(daemon.place.admin).unwrap();
    let body = r#"{"source": "manifests"}"#;
    let length = body.len();
    write!(
        stream,
        "POST /api/v1/confirm HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: text/plain\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 415"), "{answer}");
    assert_eq!(source()["objects"], 12);

    let confirmed = daemon.place.tidegate(&["confirm", "manifests"]);
    assert_eq!(confirmed.code, Some(0), "{}", confirmed.err);
    assert!(confirmed.out.contains("12 objects of kind Namespace"), "{}", confirmed.out);
    daemon.eventually("believed", || (source()["objects"] == 0).then_some(()));
    assert!(source()["held"].is_null());
    let again = daemon.place.tidegate(&["confirm", "manifests"]);
    assert_eq!((again.code, again.out.trim()), (Some(0), "source manifests holds nothing back"));
}
