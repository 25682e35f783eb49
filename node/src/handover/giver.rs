//! The process that is taken over from: one thread waits for another process and tells it everything. It changes nothing here
//! before the other has it all, and if that one fails this process goes on.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_handover::{Channel, ChannelError, Listener, Message, PROTOCOL};
use tidegate_model::handover::Listening;
use tidegate_proxy::{HandDrain, Handover, ListeningSocket};
use tidegate_speaker::Speaker;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{Draining, Metrics, PREPARE_MAX, SOON};
use crate::peering::{Before, PeeringView};

/// Elections with one message.
const ELECTIONS: usize = 16;

/// What goes to the next process as it is.
pub struct Legacy {
    /// The lock on the state directory.
    pub lock: OwnedFd,
    /// The lock on the kernel, if held.
    pub kernel_lock: Option<OwnedFd>,
    /// The admin socket.
    pub admin: (SocketAddr, OwnedFd),
    /// What persistent sessions are made with, where no file names it.
    pub secret: Vec<u8>,
    /// Where the keys of session tickets are.
    pub peering: PeeringView,
}

/// Who gives.
pub struct Giver {
    /// Where others ask.
    pub listener: Listener,
    /// What goes over as it is.
    pub legacy: Legacy,
    /// The proxy's sockets.
    pub proxy: Handover,
    /// Endpoints drained by hand.
    pub drained: HandDrain,
    /// The elections.
    pub speaker: Arc<Speaker>,
    /// Who drains already.
    pub draining: Draining,
    /// Whether this process is ending, and hands nothing over.
    pub ending: Arc<AtomicBool>,
    /// What is counted.
    pub metrics: Metrics,
}

/// A process that has everything, and waits for this one to let go.
pub struct Successor {
    /// Its process id.
    pub pid: u32,
    /// The channel to it.
    pub channel: Channel,
}

impl Giver {
    /// Starts to wait, in a thread of its own; the successor comes by the channel. Ends with it, or with the process.
    pub fn start(self) -> io::Result<mpsc::Receiver<Successor>> {
        let (handed, successors) = mpsc::channel(1);
        let runtime = Handle::current();
        std::thread::Builder::new().name("handover".into()).spawn(move || {
            while let Ok((channel, pid)) = self.listener.accept() {
                tracing::info!(pid, "another process asks to take over");
                match self.tell(&channel, &runtime) {
                    Ok(()) => {
                        let _ = handed.blocking_send(Successor { pid, channel });
                        return;
                    }
                    Err(error) => {
                        self.metrics.failures.inc();
                        tracing::warn!(pid, %error, "it did not take over; this process goes on");
                    }
                }
            }
        })?;
        Ok(successors)
    }

    /// Tells everything, until the other says that it has it.
    fn tell(&self, channel: &Channel, runtime: &Handle) -> Result<(), ChannelError> {
        self.greet(channel)?;
        let mut known = BTreeSet::new();
        self.tell_sockets(channel, runtime, &mut known)?;
        channel.send(&Message::Prepared, &[], SOON)?;
        // One that hangs is not to keep others waiting.
        channel.wait(&self.listener, PREPARE_MAX)?;
        channel.expect(&Message::TakeOver, SOON)?;
        self.may_go(channel)?;
        // Sockets that were opened meanwhile.
        self.tell_sockets(channel, runtime, &mut known)?;
        for elections in runtime.block_on(self.speaker.remember()).chunks(ELECTIONS) {
            channel.send(&Message::Elections(elections.to_vec()), &[], SOON)?;
        }
        // Who drains another one from here on tells a process that has nothing more to say; the next command shows it.
        let drained = self.drained.drained();
        if !drained.is_empty() {
            channel.send(&Message::Drained((*drained).clone()), &[], SOON)?;
        }
        let sessions = runtime.block_on(self.proxy.suspend());
        let sessions: Vec<_> = sessions.into_iter().map(|session| (session.session, session.fd)).collect();
        let taken = channel
            .send_all(&sessions, Message::Sessions, SOON)
            .and_then(|()| channel.send(&Message::Complete, &[], SOON))
            .and_then(|()| channel.expect(&Message::Taken, SOON));
        if taken.is_err() {
            runtime.block_on(self.proxy.resume());
        }
        taken
    }

    fn greet(&self, channel: &Channel) -> Result<(), ChannelError> {
        let (protocol, version) = match channel.receive(SOON)?.0 {
            Message::Hello { protocol, version } => (protocol, version),
            other => return Err(ChannelError::Unexpected { expected: "Hello", found: other.name() }),
        };
        if protocol != PROTOCOL {
            let reason =
                format!("version {version} speaks protocol {protocol}, this one {PROTOCOL}; restart instead");
            return Err(refuse(channel, reason));
        }
        self.may_go(channel)?;
        self.welcome(channel)
    }

    /// A process that is ending has nothing to hand over: its clients are told to leave.
    fn may_go(&self, channel: &Channel) -> Result<(), ChannelError> {
        match self.ending.load(Ordering::SeqCst) {
            true => Err(refuse(channel, "the running process is ending".into())),
            false => Ok(()),
        }
    }

    fn welcome(&self, channel: &Channel) -> Result<(), ChannelError> {
        let Legacy { lock, kernel_lock, admin, secret, peering } = &self.legacy;
        let mut fds = vec![lock.try_clone()?, self.listener.duplicate()?];
        if let Some(lock) = kernel_lock {
            fds.push(lock.try_clone()?);
        }
        fds.push(admin.1.try_clone()?);
        // Of many the newest are told of: a message holds so many descriptors.
        let mut draining = self.draining.duplicate();
        let room = tidegate_handover::DESCRIPTORS_MAX - fds.len();
        draining.drain(..draining.len().saturating_sub(room));
        let (pids, channels): (Vec<u32>, Vec<OwnedFd>) = draining.into_iter().unzip();
        fds.extend(channels);
        let Before { tickets, secret_digest } = peering.estate();
        let welcome = Message::Welcome {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            kernel: kernel_lock.is_some(),
            admin: admin.0,
            secret: secret.clone(),
            tickets: Some(tickets),
            tickets_secret: secret_digest,
            draining: pids,
        };
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        channel.send(&welcome, &borrowed, SOON)
    }

    /// Sends the sockets that are not `known` yet.
    fn tell_sockets(
        &self,
        channel: &Channel,
        runtime: &Handle,
        known: &mut BTreeSet<u64>,
    ) -> Result<(), ChannelError> {
        let all = runtime.block_on(self.proxy.sockets());
        let new = all.into_iter().filter(|socket| known.insert(socket.label.number));
        let new: Vec<(Listening, OwnedFd)> = new.map(|ListeningSocket { label, fd }| (label, fd)).collect();
        channel.send_all(&new, Message::Sockets, SOON)
    }
}

/// Tells another process why not. Whether it hears that or not, it is refused.
fn refuse(channel: &Channel, reason: String) -> ChannelError {
    let _ = channel.send(&Message::Refused { reason: reason.clone() }, &[], SOON);
    ChannelError::Refused(reason)
}
