//! What the service manager is told: that the service is up, which process it is now, that it ends (sd_notify(3)).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service manager, if there is one.
#[derive(Clone, Debug)]
pub struct Manager(Option<SocketAddr>);

impl Manager {
    /// The one named by the environment (`NOTIFY_SOCKET`); a name that cannot be is nobody.
    pub fn of_environment() -> Manager {
        Manager(std::env::var_os("NOTIFY_SOCKET").and_then(|name| address(&name)))
    }

    /// Says that this process serves, and is the service.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nMAINPID={}\nSTATUS={}", std::process::id(), one_line(status)));
    }

    /// Says that this process lives, which a watchdog wants to hear. A process that came by a hand-over is not told whether
    /// there is one, so this is said without being asked; nobody minds.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// Says that the service ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Nobody depends on being told: one that does not listen changes nothing.
    fn tell(&self, text: &str) {
        let Some(address) = &self.0 else { return };
        let send = || -> io::Result<usize> {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.send_to_addr(text.as_bytes(), address)
        };
        let _ = send();
    }
}

/// A path, or a name of the abstract kind behind an `@`.
fn address(name: &OsStr) -> Option<SocketAddr> {
    match name.as_bytes().split_first()? {
        (b'@', rest) => SocketAddr::from_abstract_name(rest).ok(),
        (b'/', _) => SocketAddr::from_pathname(name).ok(),
        _ => None,
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut room = [0; 512];
        let count = socket.recv(&mut room).unwrap();
        String::from_utf8_lossy(&room[..count]).into_owned()
    }

    /// Both kinds of name are reached, with the lines that sd_notify(3) describes.
    #[test]
    fn both_kinds_of_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("tidegate/notify/{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, name) in [
            (UnixDatagram::bind(&path).unwrap(), path.as_os_str().to_owned()),
            (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}").into()),
        ] {
            let manager = Manager(address(&name));
            manager.ready("serving\nnow");
            let expected = format!("READY=1\nMAINPID={}\nSTATUS=serving now", std::process::id());
            assert_eq!(heard(&socket), expected);
            manager.alive();
            assert_eq!(heard(&socket), "WATCHDOG=1");
            manager.stopping();
            assert_eq!(heard(&socket), "STOPPING=1");
        }
    }

    /// Without a manager, and with one that is not there, nothing happens.
    #[test]
    fn nobody_is_told() {
        for name in ["", "relative", "/nowhere/at/all"] {
            Manager(address(OsStr::new(name))).ready("");
        }
    }
}
