//! Elections for addresses: one thread that speaks VRRP and answers ARP on every interface concerned.
//!
//! The thread owns all sockets and sessions. It sleeps in `poll` until a socket, a command, a link event or a deadline
//! wakes it, reads every socket (512 packets of each at most), and only then lets timers fire: a late own timer must not become a takeover
//! while the master's advert waits in the queue. It ends on [`Command::Stop`], after farewells. There is nothing to
//! cancel: killed, it falls silent, which is what its peers expect of the dead.

mod arp_socket;
mod contest;
mod memory;
mod observed;
mod segment;
mod vrrp_socket;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tidegate_model::handover;
use tidegate_model::speaker::Group;
use tidegate_vrrp as vrrp;
use tokio::sync::{oneshot, watch};

use self::contest::{Conditions, Contest, IDLE, interfaces};
pub use self::observed::Election;
use self::segment::Segment;
use crate::links::{self, Link, LinkEvents};

/// Commands that may wait; more than a person or a compile ever sends at once. A full queue makes the sender wait.
const COMMANDS_MAX: usize = 64;

/// What the thread is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// These are the groups now.
    Declare(BTreeMap<String, Group>),
    /// Whether this gateway could carry traffic.
    Ready(bool),
    /// What another process knew of these groups; those declared next go on with it.
    Inherit(Vec<handover::Election>),
    /// What another process must know to go on.
    Remember(oneshot::Sender<Vec<handover::Election>>),
    /// Say farewell and end.
    Stop,
    /// End without a word: another process of this machine speaks for it.
    FallSilent,
}

/// The thread, from outside.
#[derive(Debug)]
pub(crate) struct Elections {
    commands: SyncSender<Command>,
    wake: Arc<EventFd>,
    observed: watch::Receiver<Arc<Vec<Election>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Elections {
    /// Starts the thread, without a group.
    pub(crate) fn start() -> io::Result<Self> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        let (commands, inbox) = sync_channel(COMMANDS_MAX);
        let (publish, observed) = watch::channel(Arc::default());
        let state = Loop {
            inbox,
            wake: wake.clone(),
            events: LinkEvents::open()?,
            contests: BTreeMap::new(),
            segments: BTreeMap::new(),
            obstacles: BTreeMap::new(),
            links: BTreeMap::new(),
            conditions: Conditions::default(),
            inherited: BTreeMap::new(),
            publish,
            stopping: false,
        };
        let thread = std::thread::Builder::new().name("elections".into()).spawn(move || state.run())?;
        Ok(Elections { commands, wake, observed, thread: Mutex::new(Some(thread)) })
    }

    /// Hands a command over. Once the thread has ended it does nothing.
    pub(crate) fn tell(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            // A full counter means that the thread is awake already.
            let _ = self.wake.write(1);
        }
    }

    /// Every election, as it is now.
    pub(crate) fn observed(&self) -> watch::Receiver<Arc<Vec<Election>>> {
        self.observed.clone()
    }

    /// Says farewell and waits for the thread's end, which takes no longer than sending it.
    pub(crate) fn stop(&self) {
        self.end(Command::Stop);
    }

    /// Waits for the thread's end without a farewell.
    pub(crate) fn fall_silent(&self) {
        self.end(Command::FallSilent);
    }

    fn end(&self, how: Command) {
        self.tell(how);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

struct Loop {
    inbox: Receiver<Command>,
    wake: Arc<EventFd>,
    events: LinkEvents,
    contests: BTreeMap<String, Contest>,
    segments: BTreeMap<String, Segment>,
    /// Why an interface has no segment.
    obstacles: BTreeMap<String, String>,
    links: BTreeMap<String, Link>,
    conditions: Conditions,
    inherited: BTreeMap<String, vrrp::Memory>,
    publish: watch::Sender<Arc<Vec<Election>>>,
    stopping: bool,
}

impl Loop {
    fn run(mut self) {
        prefer_this_thread();
        while !self.stopping {
            self.sleep();
            self.read_sockets();
            if self.events.drain() {
                self.look_at_links();
            }
            self.obey();
            self.run_timers();
            self.publish();
        }
    }

    fn sleep(&self) {
        let now = Instant::now();
        let contests = self.contests.values().filter_map(Contest::poll_timeout);
        let due = contests.chain(self.segments.values().filter_map(Segment::poll_timeout)).min();
        let wait = due.map_or(IDLE, |due| due.saturating_duration_since(now)).min(IDLE);
        // Rounded up: waking a moment early would only lead to another round.
        let millis = wait.as_micros().div_ceil(1000) as u16;
        let mut fds = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN), poll_fd(&self.events)];
        for segment in self.segments.values() {
            fds.push(poll_fd(&segment.vrrp));
            fds.push(poll_fd(&segment.arp));
        }
        // EINTR and readiness look alike to the round that follows.
        let _ = poll(&mut fds, PollTimeout::from(millis));
        let _ = self.wake.read();
    }

    fn read_sockets(&mut self) {
        let now = Instant::now();
        let mut buffer = [MaybeUninit::uninit(); 2048];
        for segment in self.segments.values_mut() {
            segment.read_arp(now);
            for _ in 0..512 {
                let Some(advert) = segment.vrrp.receive(&mut buffer) else { break };
                for contest in self.contests.values_mut() {
                    let legs = contest
                        .group
                        .legs
                        .iter()
                        .enumerate()
                        .filter(|(_, leg)| leg.interface == segment.name);
                    for id in legs.map(|(at, _)| vrrp::LegId(at as u32)).collect::<Vec<_>>() {
                        let (source, destination) = (advert.source, advert.destination);
                        let input = vrrp::Input::Advert {
                            leg: id,
                            source,
                            destination,
                            ttl: advert.ttl,
                            payload: advert.payload,
                        };
                        contest.handle(input, now);
                    }
                }
            }
        }
        self.act(now);
    }

    fn obey(&mut self) {
        while let Ok(command) = self.inbox.try_recv() {
            let now = Instant::now();
            match command {
                Command::Declare(groups) => self.declare(groups, now),
                Command::Ready(ready) => {
                    self.conditions.ready = ready;
                    for contest in self.contests.values_mut() {
                        contest.handle(vrrp::Input::Ready(ready || !contest.group.track_ready), now);
                    }
                }
                Command::Inherit(elections) => {
                    self.inherited =
                        elections.iter().map(|known| (known.group.clone(), memory::from(known))).collect();
                }
                Command::Remember(answer) => {
                    let each = self.contests.values();
                    let known = each
                        .filter_map(|contest| Some(memory::to(&contest.group.name, &contest.memory(now)?)));
                    let _ = answer.send(known.collect());
                }
                Command::FallSilent => self.stopping = true,
                Command::Stop => {
                    for contest in self.contests.values_mut() {
                        contest.handle(vrrp::Input::Stop, now);
                    }
                    self.stopping = true;
                }
            }
            self.act(now);
        }
    }

    fn run_timers(&mut self) {
        let now = Instant::now();
        for contest in self.contests.values_mut() {
            if contest.poll_timeout().is_some_and(|due| due <= now) {
                contest.handle(vrrp::Input::Timeout, now);
            }
        }
        self.act(now);
        for segment in self.segments.values_mut() {
            segment.run_timers(now);
        }
    }

    /// Makes the groups what was declared: sessions that stay keep their state.
    fn declare(&mut self, groups: BTreeMap<String, Group>, now: Instant) {
        // What goes, or becomes other virtual routers, says farewell while its interfaces are still known.
        let stays = |name: &String, contest: &Contest| {
            groups.get(name).is_some_and(|group| contest.is_same_routers(group))
        };
        for (name, contest) in &mut self.contests {
            if !stays(name, contest) {
                contest.handle(vrrp::Input::Stop, now);
            }
        }
        self.act(now);
        self.contests.retain(|name, contest| stays(name, contest));
        self.links = links::scan().unwrap_or_default();
        let changed: Vec<Group> = groups
            .into_values()
            .filter(|group| self.contests.get(&group.name).is_none_or(|old| old.group != *group))
            .collect();
        let wanted: BTreeSet<String> = interfaces(self.contests.values())
            .into_iter()
            .chain(changed.iter().flat_map(|group| group.legs.iter().map(|leg| leg.interface.clone())))
            .collect();
        self.open_segments(&wanted);
        for group in changed {
            let links = self.links_of(&group);
            let inherited = &mut self.inherited;
            let contest = self
                .contests
                .entry(group.name.clone())
                .or_insert_with(|| Contest::new(group.clone(), inherited.remove(&group.name), now));
            contest.change(group, &links, self.conditions, now);
        }
        self.inherited.clear();
        self.explain_obstacles(now);
        let used = interfaces(self.contests.values());
        self.act(now);
        self.segments.retain(|name, _| used.contains(name));
    }

    /// The links of a group's legs, `None` where no sockets are open.
    fn links_of(&self, group: &Group) -> Vec<Option<Link>> {
        group
            .legs
            .iter()
            .map(|leg| self.segments.get(&leg.interface).map(|segment| segment.link.clone()))
            .collect()
    }

    fn open_segments(&mut self, wanted: &BTreeSet<String>) {
        for name in wanted {
            if self.segments.contains_key(name) {
                continue;
            }
            let opened = match self.links.get(name) {
                None => Err(format!("there is no interface {name}")),
                Some(link) => Segment::open(name, link.clone()).map_err(|error| describe(name, &error)),
            };
            match opened {
                Ok(segment) => {
                    self.obstacles.remove(name);
                    self.segments.insert(name.clone(), segment);
                }
                Err(obstacle) => {
                    if self.obstacles.insert(name.clone(), obstacle.clone()).as_ref() != Some(&obstacle) {
                        tracing::warn!(interface = name, "{obstacle}");
                    }
                }
            }
        }
    }

    /// A contest that waits for an interface says why.
    fn explain_obstacles(&mut self, now: Instant) {
        for contest in self.contests.values_mut().filter(|contest| !contest.runs()) {
            if let Some(obstacle) =
                contest.group.legs.iter().find_map(|leg| self.obstacles.get(&leg.interface))
            {
                contest.stop(obstacle.clone(), now);
            }
        }
    }

    fn look_at_links(&mut self) {
        let Ok(links) = links::scan() else { return };
        let now = Instant::now();
        self.links = links;
        let mut lost = BTreeSet::new();
        for (name, segment) in &mut self.segments {
            match self.links.get(name) {
                Some(link) if link.index == segment.link.index && link.mac == segment.link.mac => {
                    let link = link.clone();
                    if segment.link != link {
                        segment.relink(link, now);
                    }
                }
                _ => {
                    lost.insert(name.clone());
                }
            }
        }
        for name in &lost {
            self.segments.remove(name);
        }
        let wanted = interfaces(self.contests.values());
        self.open_segments(&wanted);
        self.tell_contests_of_links(now);
        self.explain_obstacles(now);
        self.act(now);
    }

    /// A contest that lost an interface says farewell on the others first; one that has all of them takes over what
    /// changed on them, our own address among it.
    fn tell_contests_of_links(&mut self, now: Instant) {
        for contest in self.contests.values_mut() {
            for (at, leg) in contest.group.legs.clone().iter().enumerate() {
                if !self.segments.contains_key(&leg.interface) {
                    contest.handle(vrrp::Input::Link { leg: vrrp::LegId(at as u32), up: false }, now);
                }
            }
        }
        self.act(now);
        let groups: Vec<Group> = self.contests.values().map(|contest| contest.group.clone()).collect();
        for group in groups {
            let links = self.links_of(&group);
            if let Some(contest) = self.contests.get_mut(&group.name) {
                contest.change(group, &links, self.conditions, now);
            }
        }
    }

    /// Does what the sessions decided, in their order.
    fn act(&mut self, now: Instant) {
        let mut said = Vec::new();
        for contest in self.contests.values_mut() {
            while let Some(output) = contest.poll_output() {
                match output {
                    vrrp::Output::Send { leg, destination, bytes } => {
                        let leg = contest.group.legs.get(leg.0 as usize);
                        if let Some(segment) = leg.and_then(|leg| self.segments.get_mut(&leg.interface)) {
                            segment.send_advert(destination, &bytes);
                        }
                    }
                    vrrp::Output::Claim(reason) => said.push((
                        tracing::Level::INFO,
                        contest.group.name.clone(),
                        format!("master: {reason}"),
                    )),
                    vrrp::Output::Release(reason) => said.push((
                        tracing::Level::INFO,
                        contest.group.name.clone(),
                        format!("no longer master: {reason}"),
                    )),
                    vrrp::Output::Announce => {
                        for leg in &contest.group.legs {
                            if let Some(segment) = self.segments.get_mut(&leg.interface) {
                                segment.announce(&leg.addresses, now);
                            }
                        }
                    }
                    vrrp::Output::Report(report) => {
                        said.push((tracing::Level::WARN, contest.group.name.clone(), report.to_string()))
                    }
                }
            }
        }
        // What is held follows from who is master now, whatever the path that led there.
        for (name, segment) in &mut self.segments {
            let wanted: BTreeSet<Ipv4Addr> =
                self.contests.values().flat_map(|contest| contest.holds_on(name)).collect();
            segment.hold(&wanted, now);
        }
        // Words come last: whoever reads the log may be slow.
        for (level, group, words) in said {
            match level {
                tracing::Level::WARN => tracing::warn!(group, "{words}"),
                _ => tracing::info!(group, "{words}"),
            }
        }
    }

    fn publish(&self) {
        let now: Vec<Election> = self.contests.values().map(Contest::observe).collect();
        self.publish.send_if_modified(|before| {
            let differs = **before != now;
            if differs {
                *before = Arc::new(now);
            }
            differs
        });
    }
}

fn poll_fd<T: AsRawFd>(source: &T) -> PollFd<'_> {
    // SAFETY: the descriptor stays open for as long as `source` is borrowed.
    let fd = unsafe { BorrowedFd::borrow_raw(source.as_raw_fd()) };
    PollFd::new(fd, PollFlags::POLLIN)
}

fn describe(interface: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            format!("raw sockets on {interface} need CAP_NET_RAW; run as root or grant it")
        }
        _ => format!("raw sockets on {interface} cannot be opened: {error}"),
    }
}

/// Asks for real-time scheduling, so that busy neighbours do not make adverts late. Without the right to it nothing
/// is lost but that.
fn prefer_this_thread() {
    let parameters = libc::sched_param { sched_priority: 10 };
    // SAFETY: `parameters` outlives the call; 0 means the calling thread.
    let refused = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const parameters) } != 0;
    if refused {
        tracing::debug!("no real-time scheduling for elections: {}", io::Error::last_os_error());
    }
}
