//! What a session has to say: a bounded queue, and a bounded memory of what was reported already.

use std::collections::VecDeque;
use std::mem::{Discriminant, discriminant};
use std::net::IpAddr;

use super::event::{Output, Report};
use super::{LegId, MAX_OUTPUTS, MAX_REPORTED};

#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Output>,
    reported: Vec<(LegId, IpAddr, Discriminant<Report>)>,
}

impl Outbox {
    pub fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    /// A shell that does not fetch loses adverts, announcements and reports, never the last word on ownership.
    pub fn push(&mut self, output: Output) {
        if self.queue.len() >= MAX_OUTPUTS {
            let owns = |output: &Output| matches!(output, Output::Claim(_) | Output::Release(_));
            let last = self.queue.iter().rposition(owns).and_then(|at| self.queue.remove(at));
            self.queue.clear();
            self.queue.extend(last);
        }
        self.queue.push_back(output);
    }

    pub fn push_all(&mut self, outputs: impl IntoIterator<Item = Output>) {
        outputs.into_iter().for_each(|output| self.push(output));
    }

    /// A kind of report is told once for each sender and leg, and of [`MAX_REPORTED`] senders in all.
    pub fn report_once(&mut self, leg: LegId, source: IpAddr, report: Report) {
        let kind = discriminant(&report);
        let told = self.reported.iter().filter(|(_, _, other)| *other == kind).count();
        if told < MAX_REPORTED && !self.reported.contains(&(leg, source, kind)) {
            self.reported.push((leg, source, kind));
            self.push(Output::Report(report));
        }
    }
}
