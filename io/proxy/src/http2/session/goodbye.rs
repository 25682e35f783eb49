//! The last words of a session, and what is still read so that the peer hears them.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use super::Session;
use crate::buffer::Size;

/// How long a closed connection is still read, so that the peer sees our last frames.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How much of it is read then.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

impl Session {
    /// Writes what is left, GOAWAY last, and reads on for a moment: a socket closed with bytes unread resets the connection,
    /// and the peer would never see why.
    pub(super) async fn say_goodbye(&self) -> io::Result<()> {
        loop {
            let written = {
                let machine = self.machine.borrow();
                if machine.output().is_empty() {
                    break;
                }
                self.wire.try_write(machine.output())
            };
            match written {
                Ok(count) => self.machine.borrow_mut().advance_output(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|context| self.wire.poll_writable(context)).await?;
                }
                Err(error) => return Err(error),
            }
        }
        self.wire.shutdown_write()?;
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            self.wire.readable().await?;
            self.worker.turns.next().await;
            let mut buffer = self.worker.buffers.take(Size::Large);
            match self.wire.try_read(buffer.space()) {
                Ok(0) => return Ok(()),
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
