//! What keeps a daemon from starting: exit status 2 and one clear line.

use std::net::TcpListener;

use crate::place::{Place, free_port};

const FIELDS: &str = "time, client, peer, listener, host, method, path, protocol, status, reason, route, backend, \
                      endpoint, bytes_in, bytes_out, duration_us, upstream_us, request_id, trace_id, tls, user_agent";

/// Without a source there is nothing to do.
#[test]
fn no_source() {
    let answer = Place::new().refused(&["--config", "tidegate.yaml"]);
    answer
        .exits(2)
        .complains("there is nothing to read: give --manifests DIR, --kubeconfig FILE, or sources in the file of --config");
}

/// A directory that is missing, or is none, is named.
#[test]
fn no_directory() {
    let place = Place::new();
    let answer = place.refused(&["--config", "tidegate.yaml", "--manifests", "nowhere"]);
    answer
        .exits(2)
        .complains("source manifests: cannot read nowhere: No such file or directory (os error 2)");
    let answer = place.refused(&["--config", "tidegate.yaml", "--manifests", "tidegate.yaml"]);
    answer.exits(2).complains("source manifests: tidegate.yaml is not a directory");
}

/// A second start on the same stateDir fails and names it; the first goes on, and its end frees the directory.
#[test]
fn second_start() {
    let mut daemon = Place::new().start();
    let place = &daemon.place;
    let other = format!("127.0.0.1:{}", free_port());
    let arguments = ["--config", "tidegate.yaml", "--manifests", "manifests", "--admin", &other];
    let run = || place.refused(&arguments);
    let state = place.path("state");
    run().exits(2).complains(&format!(
        "another tidegate runs on stateDir {}; stop it first, or name another stateDir",
        state.display()
    ));
    assert_eq!(daemon.admin("/readyz").status, 200);
    daemon.signal(nix::sys::signal::Signal::SIGKILL);
    daemon.wait();
    // Killed as it was, it has left nothing that stands in the way: only the address does now.
    let taken = TcpListener::bind(&other).unwrap();
    let answer = daemon.place.refused(&arguments);
    assert!(answer.exits(2).err.contains("admin address"), "{}", answer.err);
    drop(taken);
}

/// An admin address that is in use is named, with what to do.
#[test]
fn admin_address_in_use() {
    let place = Place::new();
    let taken = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let answer =
        place.refused(&["--config", "tidegate.yaml", "--manifests", "manifests", "--admin", &address]);
    answer.exits(2);
    for part in [address.as_str(), "Address already in use", "choose one with --admin"] {
        assert!(answer.err.contains(part), "no {part:?} in {}", answer.err);
    }
    assert_eq!(answer.err.lines().count(), 1, "{}", answer.err);
}

/// An admin address that others could reach is refused, whether typed or written.
#[test]
fn admin_address_for_all() {
    let place = Place::new();
    let address = format!("0.0.0.0:{}", free_port());
    let refusal = format!(
        "admin address {address}: anything but loopback needs TLS and a token, which this version does not serve; use \
         127.0.0.1"
    );
    let arguments = ["--config", "tidegate.yaml", "--manifests", "manifests", "--admin", &address];
    place.refused(&arguments).exits(2).complains(&refusal);
}

/// A mistake in the bootstrap file is named with file, line and field.
#[test]
fn mistakes_in_settings() {
    let place = Place::new();
    for (more, complaint) in [
        ("workers: many\n", "tidegate.yaml:2: workers: expected a whole number, found the text `many`"),
        (
            "a: [\n",
            "tidegate.yaml:3: not valid YAML: while parsing a node, did not find expected node content",
        ),
        (
            "admin:\n  address: localhost\n",
            "tidegate.yaml:3: admin.address: expected an IP address with a port such as `127.0.0.1:9440`, found \
             `localhost`",
        ),
        (
            "accessLog:\n  fields:\n  - status\n  - stats\n",
            &format!(
                "tidegate.yaml:5: accessLog.fields[1]: there is no field `stats`; did you mean `status`? there are {FIELDS}"
            ),
        ),
        (
            "accessLog: {output: sterr}\n",
            "tidegate.yaml:2: accessLog.output: `sterr`: did you mean `stderr`? A file of this name is `./sterr`",
        ),
        (
            "sources:\n- manifests: manifests\n",
            "tidegate.yaml:3: sources[0].name: `name` is missing; it is required",
        ),
    ] {
        place.settings(more);
        place
            .refused(&["--config", "tidegate.yaml", "--manifests", "manifests"])
            .exits(2)
            .complains(complaint);
    }
    let missing = place.refused(&["--config", "none.yaml", "--manifests", "manifests"]);
    missing.exits(2).complains("cannot read none.yaml: No such file or directory (os error 2)");
}

/// An unknown setting stops nothing: it is a warning in the log that names the nearest known one.
#[test]
fn unknown_setting() {
    let place = Place::new();
    place.settings("worker: 1\n");
    let daemon = place.start();
    let warning = "tidegate.yaml:2: worker: unknown field `worker`; did you mean `workers`?";
    assert_eq!(daemon.log().matches(warning).count(), 1, "{}", daemon.log());
}

/// A command that finds no daemon says where it looked, and fails.
#[test]
fn no_daemon_to_ask() {
    let answer = Place::new().tidegate(&["status"]);
    answer.exits(1);
    assert!(answer.err.starts_with("tidegate: no answer from tidegate at 127.0.0.1:"), "{}", answer.err);
    assert!(answer.err.ends_with("is it running? its address is set by --admin\n"), "{}", answer.err);
}

/// `check` of a path that is not there is a failure to read, not a verdict.
#[test]
fn nothing_to_check() {
    let answer = Place::new().tidegate(&["check", "nowhere"]);
    answer.exits(2).complains("cannot read nowhere: No such file or directory (os error 2)");
}
