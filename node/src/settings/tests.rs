//! What a bootstrap file and flags come to, and the sentences for what they cannot be.

use tidegate_model::traffic::EndpointMode;

use super::*;

/// Settles a bootstrap file with this text, in a folder that holds the directories `a` and `b`.
fn settle(text: &str, flags: &[&str]) -> (Result<Settings, String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let shown = folder.path().display().to_string();
    let config = folder.path().join("c.yaml");
    std::fs::write(&config, text.replace("HERE", &shown)).unwrap();
    let mut run = args::Run {
        config: Some(config),
        manifests: flags.iter().map(PathBuf::from).collect(),
        ..args::Run::default()
    };
    run.manifests.iter_mut().for_each(|flag| *flag = folder.path().join(&flag));
    let mut warnings = Vec::new();
    let settled = Settings::settle(None, &run, &mut |warning| warnings.push(warning));
    let relative = |text: String| text.replace(&format!("{shown}/"), "");
    (settled.map_err(|error| relative(format!("{error:#}"))), warnings.into_iter().map(relative).collect())
}

fn refusal(text: &str) -> String {
    settle(text, &["a"]).0.expect_err(text)
}

/// How long draining may take is a duration as elsewhere.
#[test]
fn drain_timeout() {
    let settled = |text: &str| settle(text, &["a"]).0.unwrap().drain_timeout;
    assert_eq!(settled("drainTimeout: 1m30s\n"), Duration::from_secs(90));
    assert_eq!(settled("drainTimeout: 0s\n"), Duration::ZERO);
    let refused = refusal("drainTimeout: soon\n");
    assert!(refused.starts_with("c.yaml:1: drainTimeout: \"soon\" is no duration"), "{refused}");
}

/// What a file leaves out has its default, and an empty file is all defaults.
#[test]
fn defaults() {
    for text in
        ["", "# nothing\n", "admin: {metricsFrom: [], tls: {}, tokenFile: \"\"}\nnode: \"\"\nworkers: 0\n"]
    {
        let (settings, warnings) = settle(text, &["a"]);
        let settings = settings.unwrap();
        assert_eq!(settings.node, host_name().unwrap());
        assert_eq!(settings.admin, ADMIN);
        assert_eq!(settings.state_dir, default_state_dir());
        assert_eq!(settings.drain_timeout, Duration::from_secs(10));
        assert!(settings.workers >= 1);
        assert_eq!(settings.access_log, AccessLog::default());
        assert_eq!(warnings, Vec::<String>::new());
    }
}

/// Flags count more than the file, the file more than defaults; directories of both are read, in that order.
#[test]
fn flags_over_file_over_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.yaml");
    let here = folder.path().display();
    let text = "node: gw1\nadmin: {address: '127.0.0.1:1'}\nstateDir: /s\nworkers: 3\n";
    std::fs::write(&config, format!("{text}sources: [{{name: local, manifests: {here}}}]\n")).unwrap();
    let mut run = args::Run { config: Some(config), ..args::Run::default() };
    let settle = |admin, run: &args::Run| Settings::settle(admin, run, &mut |_| ()).unwrap();
    let written = settle(None, &run);
    assert_eq!((written.node.as_str(), written.admin.port(), written.workers), ("gw1", 1, 3));
    assert_eq!(written.state_dir, Path::new("/s"));
    run.node = Some("gw2".into());
    run.manifests = vec![folder.path().into(), folder.path().into()];
    run.kubeconfig = vec!["/blue".into()];
    let typed = settle(Some(([127, 0, 0, 1], 2).into()), &run);
    assert_eq!((typed.node.as_str(), typed.admin.port(), typed.workers), ("gw2", 2, 3));
    let names: Vec<&str> = typed.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["local", "manifests", "manifests-2", "kubernetes"]);
}

/// A value that cannot be is named with file, line and field.
#[test]
fn mistakes_are_placed() {
    for (text, expected) in [
        ("workers: -1\n", "c.yaml:1: workers: expected a whole number, found the number `-1`"),
        ("node: gw1\nworkers: [1]\n", "c.yaml:2: workers: expected a whole number, found a list"),
        (
            "admin:\n  address: '127.0.0.1'\n",
            "c.yaml:2: admin.address: expected an IP address with a port such as `127.0.0.1:9440`, found `127.0.0.1`",
        ),
        ("admin: 9440\n", "c.yaml:1: admin: expected a mapping of fields, found the number `9440`"),
        ("sources:\n- {manifests: HERE/b}\n", "c.yaml:2: sources[0].name: `name` is missing; it is required"),
        ("node: gw1\n---\nnode: gw2\n", "c.yaml:3: the file has several documents; settings are one"),
    ] {
        assert_eq!(refusal(text), expected, "{text}");
    }
    let unknown = refusal("accessLog:\n  fields:\n  - time\n  - tine\n");
    assert!(
        unknown.starts_with(
            "c.yaml:4: accessLog.fields[1]: there is no field `tine`; did you mean `time`? there are time,"
        ),
        "{unknown}"
    );
}

/// What this version does not serve is refused where it guards something, and warned of where it does not.
#[test]
fn unserved_settings() {
    for (text, expected) in [
        ("admin: {tokenFile: /t}\n", "c.yaml: admin: this version serves loopback only"),
        ("admin: {metricsFrom: [10.0.0.0/8]}\n", "c.yaml: admin: this version serves loopback only"),
        ("admin: {tls: {certFile: /c}}\n", "c.yaml: admin: this version serves loopback only"),
        ("accessLog: {format: text}\n", "c.yaml: accessLog.format: `text` is no format; use json, logfmt,"),
        ("accessLog: {format: combined, fields: [host]}\n", "c.yaml: accessLog.format: fields choose those"),
        (
            "accessLog: {format: '%{hots}'}\n",
            "c.yaml: accessLog.format: `%{hots}`: there is no field `hots`;",
        ),
        ("workers: 1025\n", "c.yaml: workers: 1025 is more than 1024"),
        ("sources: [{name: x}]\n", "c.yaml: source x: give either manifests or kubernetes"),
        ("sources: [{name: x, manifests: HERE/b, kubernetes: {}}]\n", "c.yaml: source x: give either"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.starts_with(expected), "{text}: {refusal}");
    }
    let text = "loadBalancer: {default: true}\ningressNginx: {class: nginx}\nworker: 2\n";
    let (settings, warnings) = settle(text, &["a"]);
    let settings = settings.unwrap();
    assert!(settings.load_balancer.default && settings.ingress_class == "nginx");
    assert!(!settle("loadBalancer: {}\n", &["a"]).0.unwrap().load_balancer.default);
    assert_eq!(warnings, ["c.yaml:3: worker: unknown field `worker`; did you mean `workers`?"]);
}

/// A collector is a URL, and a share lies between none and all.
#[test]
fn tracing() {
    let settled = |text: &str| settle(text, &["a"]).0.unwrap().tracing;
    assert_eq!(
        settled("tracing: {otlp: '', sample: 0.5}\n"),
        Tracing { sample: Share(0.5), ..Tracing::default() }
    );
    let written = settled("tracing: {otlp: 'http://127.0.0.1:4318', sample: 1}\n");
    let url = written.otlp.0.as_ref().map(Endpoint::url);
    assert_eq!((url, written.sample), (Some("http://127.0.0.1:4318/v1/traces"), Share(1.0)));
    for (text, expected) in [
        ("tracing: {sample: 2}\n", "c.yaml:1: tracing.sample: expected a number from 0 to 1, found 2"),
        (
            "tracing:\n  otlp: localhost:4318\n",
            "c.yaml:2: tracing.otlp: it names no scheme; expected a URL such as",
        ),
        ("tracing: {otlp: 'grpc://c:4317'}\n", "c.yaml:1: tracing.otlp: OTLP over gRPC is not spoken;"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.starts_with(expected), "{text}: {refusal}");
    }
}

/// Sources have names of their own and are directories that exist; there is at least one.
#[test]
fn sources_are_checked() {
    let refused = |text: &str, flags: &[&str]| settle(text, flags).0.expect_err(text);
    assert!(refused("", &[]).starts_with("there is nothing to read: give --manifests DIR"));
    let same = "sources: [{name: x, manifests: HERE/a}, {name: x, manifests: HERE/b}]\n";
    assert_eq!(refused(same, &[]), "two sources are named x; names must be unique");
    let flag = "sources: [{name: manifests, manifests: HERE/a}]\n";
    assert_eq!(refused(flag, &["b"]), "two sources are named manifests; names must be unique");
    assert_eq!(refused("", &["c.yaml"]), "source manifests: c.yaml is not a directory");
    let missing = refused("", &["c"]);
    assert!(missing.starts_with("source manifests: cannot read c: No such file"), "{missing}");
}

/// The access log goes where it is sent, with the fields asked for.
#[test]
fn access_log_outputs() {
    let output = |text: &str| {
        let log = settle(&format!("accessLog: {{output: {text}, fields: [host, time]}}\n"), &["a"]).0;
        log.unwrap().access_log.settled()
    };
    assert_eq!(output("off").output, AccessLogOutput::Off);
    assert_eq!(output("stderr").output, AccessLogOutput::Stderr);
    assert_eq!(output("/var/log/x").output, AccessLogOutput::File("/var/log/x".into()));
    assert_eq!(output("access.log").output, AccessLogOutput::File("access.log".into()));
    let remote = tidegate_proxy::SyslogReceiver::Remote("192.0.2.1:514".parse().unwrap());
    assert_eq!(output("syslog://192.0.2.1").output, AccessLogOutput::Syslog(remote));
    for (slip, meant) in [
        ("sterr", "did you mean `stderr`?"),
        ("stdout", "write /dev/stdout"),
        ("syslog://x", "an IP address"),
    ] {
        let refusal = refusal(&format!("accessLog: {{output: '{slip}'}}\n"));
        assert!(refusal.starts_with("c.yaml:1: accessLog.output: ") && refusal.contains(meant), "{refusal}");
    }
    assert_eq!(output("off").fields, ["host", "time"]);
}

/// A cluster is named by its kubeconfig, and without one it is that of the pod; a kubeconfig need not be there yet. The Lease
/// of its writer can be another than the usual one, and is named as an object can be.
#[test]
fn clusters() {
    let text = "sources:\n- {name: blue, kubernetes: {kubeconfig: /none, endpointMode: NodePort}}\n\
                - {name: here, kubernetes: {lease: {namespace: edge}}}\n";
    let (settings, warnings) = settle(text, &[]);
    let sources = settings.unwrap().sources;
    let modes: Vec<EndpointMode> = sources.iter().map(|source| source.endpoint_mode).collect();
    assert_eq!(modes, [EndpointMode::NodePort, EndpointMode::Pod]);
    let origins: Vec<Origin> = sources.into_iter().map(|source| source.origin).collect();
    let [Origin::Kubernetes(blue), Origin::Kubernetes(here)] = &origins[..] else { panic!("{origins:?}") };
    assert_eq!((blue.kubeconfig.as_deref(), here.kubeconfig.as_deref()), (Some(Path::new("/none")), None));
    let lease = |cluster: &Cluster| (cluster.lease.namespace.0.clone(), cluster.lease.name.0.clone());
    assert_eq!(lease(blue), ("tidegate-system".into(), "tidegate-status".into()));
    assert_eq!(lease(here), ("edge".into(), "tidegate-status".into()));
    let wrong = refusal("sources:\n- name: blue\n  kubernetes: {lease: {name: a/../b}}\n");
    assert!(wrong.starts_with("c.yaml:3:") && wrong.contains("`a/../b` is no name of an object"), "{wrong}");
    assert_eq!(warnings, Vec::<String>::new());
    let slip = refusal("sources:\n- name: blue\n  kubernetes: {endpointMode: Nodeport}\n");
    assert!(slip.contains("did you mean `NodePort`?"), "{slip}");
}
