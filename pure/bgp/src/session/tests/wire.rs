//! Two sessions, a fake clock, and a wire that delays, cuts, stalls and refuses. TCP's promises hold:
//! what arrives arrives in order, and what is sent into a closed connection closes the sender's end.

use super::super::*;
use std::collections::BTreeMap;

/// What happens on the wire at a certain time.
#[derive(Debug)]
enum Event {
    Opened { side: usize, conn: ConnId, direction: Direction },
    OpenFailed { side: usize },
    Bytes { side: usize, conn: ConnId, bytes: Vec<u8> },
    Closed { side: usize, conn: ConnId },
}

/// A transport connection: who still holds an end, and whether anything gets through.
#[derive(Debug)]
struct Link {
    open: [bool; 2],
    stalled: bool,
    /// When the last bytes towards each side arrive; later ones come later.
    last: [Instant; 2],
}

/// One speaker and what its session has told it.
pub struct Side {
    pub session: Session,
    pub up: Option<PeerInfo>,
    pub downs: Vec<DownReason>,
    pub routes: Vec<Update>,
    pub ends_of_rib: usize,
    pub refreshes: usize,
}

/// Both speakers and what is between them.
pub struct Wire {
    pub now: Instant,
    pub sides: [Side; 2],
    /// Dials fail while it is down.
    pub reachable: bool,
    random: Random,
    links: BTreeMap<ConnId, Link>,
    events: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    delay_max: Duration,
}

impl Wire {
    pub fn new(configs: [Config; 2], seed: u64, delay_max: Duration) -> Wire {
        let mut index = 0;
        let sides = configs.map(|config| {
            index += 1;
            Side::new(config, seed.wrapping_mul(31).wrapping_add(index))
        });
        Wire {
            now: start_of_time(),
            sides,
            reachable: true,
            random: Random::new(seed),
            links: BTreeMap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            delay_max,
        }
    }

    /// Hands an input to one side and does what it asks for.
    pub fn input(&mut self, side: usize, input: Input<'_>) {
        self.sides[side].session.handle(input, self.now);
        while let Some(output) = self.sides[side].session.poll_output() {
            self.carry_out(side, output);
        }
    }

    pub fn start(&mut self) {
        self.input(0, Input::Start);
        self.input(1, Input::Start);
    }

    /// Lets time pass until `until`, or until `done`. False if `done` did not come true.
    pub fn run(&mut self, span: Duration, done: impl Fn(&Wire) -> bool) -> bool {
        let until = self.now + span;
        // A machine that wakes all the time without getting on is broken, too.
        for _ in 0..200_000 {
            if done(self) {
                return true;
            }
            let timeout = self.sides.iter().filter_map(|side| side.session.poll_timeout()).min();
            let event = self.events.keys().next().map(|(at, _)| *at);
            let Some(next) = [timeout, event].into_iter().flatten().min().filter(|next| *next <= until)
            else {
                self.now = until;
                return done(self);
            };
            self.now = self.now.max(next);
            if event.is_some_and(|event| event <= self.now) {
                self.deliver();
            } else {
                for side in 0..2 {
                    if self.sides[side].session.poll_timeout().is_some_and(|at| at <= self.now) {
                        self.input(side, Input::Timeout);
                    }
                }
            }
        }
        panic!("the sessions spin: {:?}", self.states());
    }

    pub fn pass(&mut self, span: Duration) {
        self.run(span, |_| false);
    }

    pub fn states(&self) -> [State; 2] {
        [self.sides[0].session.state(), self.sides[1].session.state()]
    }

    /// Both Established, and over the same connection.
    pub fn agreed(&self) -> bool {
        let conns = [0, 1].map(|side: usize| self.sides[side].up.as_ref().map(|up| up.conn));
        self.states() == [State::Established; 2] && conns[0] == conns[1] && conns[0].is_some()
    }

    /// Ends every connection in a way both sides notice.
    pub fn cut(&mut self) {
        for conn in self.open_links() {
            for side in 0..2 {
                self.schedule(Duration::ZERO, Event::Closed { side, conn });
            }
        }
    }

    /// From now on, nothing gets through any connection that stands, not even its end.
    pub fn stall(&mut self) {
        self.links.values_mut().for_each(|link| link.stalled = true);
    }

    /// One side is born anew. Its old connections are gone; the other side learns when it sends.
    pub fn restart(&mut self, side: usize, seed: u64) {
        let config = self.sides[side].session.config().clone();
        self.sides[side] = Side::new(config, seed);
        self.links.values_mut().for_each(|link| link.open[side] = false);
        let ours = |event: &Event| match event {
            Event::Opened { side, .. } | Event::OpenFailed { side } => *side,
            Event::Bytes { side, .. } | Event::Closed { side, .. } => *side,
        };
        self.events.retain(|_, event| ours(event) != side);
        self.input(side, Input::Start);
    }

    /// Connections that both sides believe in.
    pub fn open_links(&self) -> Vec<ConnId> {
        self.links.iter().filter(|(_, link)| link.open == [true; 2]).map(|(conn, _)| *conn).collect()
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + after, self.sequence), event);
    }

    fn delay(&mut self) -> Duration {
        let micros = self.delay_max.as_micros() as u64 + 1;
        Duration::from_micros(self.random.next() % micros)
    }

    fn carry_out(&mut self, side: usize, output: Output) {
        match output {
            Output::Dial { timeout } => self.dial(side, timeout),
            Output::Send { conn, bytes } => self.send(side, conn, bytes),
            Output::Close { conn } => self.close(side, conn),
            other => self.sides[side].take(other),
        }
    }

    fn dial(&mut self, side: usize, timeout: Duration) {
        let after = self.delay();
        if !self.reachable {
            return self.schedule(after.min(timeout), Event::OpenFailed { side });
        }
        self.sequence += 1;
        let conn = ConnId(self.sequence);
        let at = self.now + after;
        self.links.insert(conn, Link { open: [true; 2], stalled: false, last: [at; 2] });
        self.schedule(after, Event::Opened { side, conn, direction: Direction::Outgoing });
        self.schedule(after, Event::Opened { side: 1 - side, conn, direction: Direction::Incoming });
    }

    fn send(&mut self, side: usize, conn: ConnId, bytes: Vec<u8>) {
        let delay = self.delay();
        let cut = 1 + self.random.next() as usize % bytes.len();
        let Some(link) = self.links.get_mut(&conn) else { panic!("{conn:?} was never opened") };
        assert!(link.open[side], "side {side} writes to {conn:?}, which it has closed");
        if link.stalled {
            return;
        }
        let at = (self.now + delay).max(link.last[1 - side]);
        link.last[1 - side] = at;
        let after = at - self.now;
        let (head, tail) = bytes.split_at(cut);
        for part in [head, tail].into_iter().filter(|part| !part.is_empty()) {
            self.schedule(after, Event::Bytes { side: 1 - side, conn, bytes: part.to_vec() });
        }
    }

    fn close(&mut self, side: usize, conn: ConnId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&conn) else { panic!("{conn:?} was never opened") };
        assert!(std::mem::take(&mut link.open[side]), "side {side} closes {conn:?} twice");
        if !link.stalled {
            let after = link.last[1 - side].saturating_duration_since(now);
            self.schedule(after, Event::Closed { side: 1 - side, conn });
        }
    }

    fn deliver(&mut self) {
        let Some((_, event)) = self.events.pop_first() else { return };
        match event {
            Event::OpenFailed { side } => {
                self.input(side, Input::OpenFailed { error: "connection refused".into() });
            }
            Event::Opened { side, conn, direction } => {
                if self.holds(side, conn) {
                    self.input(side, Input::Opened { conn, direction });
                } else if direction == Direction::Outgoing {
                    self.input(side, Input::OpenFailed { error: "connection reset".into() });
                }
            }
            Event::Bytes { side, conn, bytes } => {
                if self.holds(side, conn) {
                    self.input(side, Input::Bytes { conn, bytes: &bytes });
                } else {
                    self.schedule(Duration::ZERO, Event::Closed { side: 1 - side, conn });
                }
            }
            Event::Closed { side, conn } => {
                if self.holds(side, conn) {
                    self.end(side, conn);
                    self.input(side, Input::Closed { conn, error: None });
                }
            }
        }
    }

    fn holds(&self, side: usize, conn: ConnId) -> bool {
        self.links.get(&conn).is_some_and(|link| link.open[side])
    }

    fn end(&mut self, side: usize, conn: ConnId) {
        if let Some(link) = self.links.get_mut(&conn) {
            link.open[side] = false;
        }
    }
}

impl Side {
    fn new(config: Config, seed: u64) -> Side {
        let session = Session::new(config, seed).unwrap();
        Side { session, up: None, downs: vec![], routes: vec![], ends_of_rib: 0, refreshes: 0 }
    }

    /// Notes an output, and checks that it may come now.
    fn take(&mut self, output: Output) {
        match output {
            Output::Up(peer) => assert!(self.up.replace(peer).is_none(), "up twice"),
            Output::Down(reason) => {
                assert!(self.up.take().is_some(), "down without up");
                self.downs.push(reason);
            }
            Output::Route(update) => {
                assert!(self.up.is_some(), "a route outside a session");
                self.routes.push(*update);
            }
            Output::EndOfRib => self.ends_of_rib += 1,
            Output::RefreshRequested => self.refreshes += 1,
            other => panic!("not for the speaker: {other:?}"),
        }
    }
}

/// A fake clock needs one true instant to count from.
#[allow(clippy::disallowed_methods)]
pub fn start_of_time() -> Instant {
    Instant::now()
}
