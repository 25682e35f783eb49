//! The Debian package and the unit in it: what is inside, what installing, upgrading and purging do to a machine, and that the
//! service starts from them. (The package is made of the binary under test, which is larger than the one that is shipped.)

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a command prints; it must succeed.
fn said(command: &mut Command) -> String {
    let output = run(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode()
        & 0o7777
}

/// The package, in a folder.
fn package(folder: &Path) -> PathBuf {
    let mut command = Command::new(project().join("scripts/deb"));
    command.args([Path::new(TIDEGATE), folder]).envs([("KEEP_SYMBOLS", "1"), ("LEVEL", "1")]);
    PathBuf::from(said(&mut command).trim())
}

/// A machine gets the program, the unit, settings that are its own from then on, and a folder for state that only root reads;
/// removing leaves settings and state, and purging nothing. Nothing is started.
#[test]
fn installed_upgraded_and_purged() {
    let is_root = said(Command::new("id").arg("-u")).trim() == "0";
    if !is_root || !has("dpkg") {
        assert!(std::env::var_os("TIDEGATE_TEST_ROOT").is_none(), "needs root and dpkg");
        println!("skipped: needs root and dpkg");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let package = package(folder.path());
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("var/lib/dpkg/updates")).unwrap();
    fs::create_dir_all(root.join("var/lib/dpkg/info")).unwrap();
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let dpkg = |words: &[&str]| {
        let mut command = Command::new("dpkg");
        command.arg(format!("--root={}", root.display()));
        command.args(["--force-script-chrootless", "--force-depends", "--force-confold"]);
        said(command.args(words))
    };
    let path = package.display().to_string();
    dpkg(&["--install", &path]);
    let settings = root.join("etc/tidegate/tidegate.yaml");
    let state = root.join("var/lib/tidegate");
    assert_eq!(mode(&root.join("usr/bin/tidegate")), 0o755);
    assert_eq!(mode(&settings), 0o644);
    assert_eq!(mode(&state), 0o700);
    assert!(root.join("etc/tidegate/manifests").is_dir());
    let unit = fs::read_to_string(root.join("usr/lib/systemd/system/tidegate.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/tidegate run --config /etc/tidegate/tidegate.yaml"));
    assert!(!root.join("etc/systemd").exists(), "a service was enabled");
    let version = said(Command::new(root.join("usr/bin/tidegate")).arg("version"));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");

    fs::write(&settings, "node: gw7\n").unwrap();
    fs::write(state.join("key"), "secret").unwrap();
    dpkg(&["--install", &path]);
    assert_eq!(fs::read_to_string(&settings).unwrap(), "node: gw7\n", "an upgrade took the settings");
    dpkg(&["--remove", "tidegate"]);
    assert!(!root.join("usr/bin/tidegate").exists());
    assert!(settings.exists() && state.join("key").exists(), "a removal is no purge");
    dpkg(&["--purge", "tidegate"]);
    assert!(!settings.exists() && !state.exists(), "a purge leaves nothing");
}

/// systemd finds nothing wrong with the unit.
#[test]
fn unit_is_in_order() {
    if !has("systemd-analyze") {
        println!("skipped: systemd-analyze is not there");
        return;
    }
    let unit = fs::read_to_string(project().join("deploy/systemd/tidegate.service")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.service");
    // It looks whether the program is there.
    fs::write(&path, unit.replace("=/usr/bin/tidegate ", &format!("={TIDEGATE} "))).unwrap();
    let output = run(Command::new("systemd-analyze").arg("verify").arg(&path));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.is_empty(), "{told}");
}

/// With the settings of the package and the unit's own command line the service says that it is ready, to the socket that
/// systemd would name.
#[test]
fn starts_from_the_package() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("manifests")).unwrap();
    let settings = fs::read_to_string(project().join("deploy/deb/tidegate.yaml")).unwrap();
    let settings = settings.replace("/etc/tidegate/manifests", &at("manifests").display().to_string());
    // Of this test alone, as any number may run at once.
    let own = format!("{settings}\nstateDir: {}\nadmin: {{address: '127.0.0.1:0'}}\n", at("state").display());
    fs::write(at("tidegate.yaml"), own).unwrap();
    let unit = fs::read_to_string(project().join("deploy/systemd/tidegate.service")).unwrap();
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/tidegate ")).unwrap();
    let line = line.replace("/etc/tidegate/tidegate.yaml", &at("tidegate.yaml").display().to_string());
    let manager = UnixDatagram::bind(at("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let log = fs::File::create(at("log")).unwrap();
    let mut command = Command::new(TIDEGATE);
    command.args(line.split_whitespace()).env("NOTIFY_SOCKET", at("notify"));
    let mut daemon = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    let mut heard = String::new();
    let mut bytes = [0; 4096];
    while !heard.contains("READY=1") {
        match manager.recv(&mut bytes) {
            Ok(count) => heard.push_str(&format!("{}\n", String::from_utf8_lossy(&bytes[..count]))),
            Err(error) => {
                _ = daemon.kill();
                panic!("{error}: {heard}\n{}", fs::read_to_string(at("log")).unwrap());
            }
        }
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}
