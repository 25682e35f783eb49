//! The echo server behind TCP proxies: one thread, one epoll.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Serves for ever.
pub fn serve(listener: TcpListener) {
    if let Err(error) = run(&listener) {
        eprintln!("the echo server ended: {error}");
    }
}

fn run(listener: &TcpListener) -> std::io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let (mut streams, mut buffer) = (HashMap::new(), [0; 16_384]);
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        for event in &events[..count] {
            if event.data() == 0 {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let key = stream.as_raw_fd() as u64;
                epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, key))?;
                streams.insert(key, stream);
            } else if !streams.get_mut(&event.data()).is_some_and(|stream| answer(stream, &mut buffer)) {
                // Dropping it closes it, which takes it out of the epoll.
                streams.remove(&event.data());
            }
        }
    }
}

/// Sends back what came; whether the connection goes on.
fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    match stream.read(buffer) {
        Ok(0) => false,
        // A message fits the socket's buffer, so this never waits.
        Ok(count) => stream.write_all(&buffer[..count]).is_ok(),
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
