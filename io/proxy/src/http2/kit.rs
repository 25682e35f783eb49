//! What the HTTP/2 sessions of one worker share: memory for outputs, header lists and streams, and limits as the machine wants them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tidegate_http2::{Fields, Limits, StreamId};
use tidegate_model::traffic::ClientPolicy;

use super::runner::Runners;
use super::stream::Shared;
use crate::framing::{HEAD_BYTES_MAX, HEADER_LINES_MAX};

/// Outputs kept.
const OUTPUTS_KEPT_MAX: usize = 64;

/// Header lists kept: as many as requests that come in before the first of them is looked at.
const FIELDS_KEPT_MAX: usize = 256;

/// Bytes of all outputs kept; what is more is given back to the allocator.
const OUTPUTS_KEPT_BYTES: usize = 4 << 20;

/// Streams kept that are over.
const STREAMS_KEPT_MAX: usize = 256;

/// A larger header list is given back to the allocator.
const FIELDS_KEPT_BYTES: usize = 16 * 1024;

/// The machine counts a header list with so much on top of each line (RFC 9113 section 6.5.2).
const LINE_OVERHEAD_BYTES: u32 = 32;

/// Shared by the sessions of a worker.
#[derive(Default)]
pub struct Kit {
    outputs: RefCell<Vec<Vec<u8>>>,
    output_bytes: Cell<usize>,
    #[expect(
        clippy::vec_box,
        reason = "they go from hand to hand, and one is larger than a line of the cache"
    )]
    fields: RefCell<Vec<Box<Fields>>>,
    streams: RefCell<Vec<Rc<Shared>>>,
    /// Tasks for requests.
    pub(super) runners: Runners,
    limits: RefCell<Option<(Arc<ClientPolicy>, Arc<Limits>)>>,
}

impl Kit {
    /// Empty memory for an output.
    pub fn take_output(&self) -> Vec<u8> {
        let output = self.outputs.borrow_mut().pop().unwrap_or_default();
        self.output_bytes.set(self.output_bytes.get() - output.capacity());
        output
    }

    /// Keeps the memory of an output.
    pub fn keep_output(&self, memory: Vec<u8>) {
        let mut outputs = self.outputs.borrow_mut();
        let bytes = self.output_bytes.get() + memory.capacity();
        if outputs.len() < OUTPUTS_KEPT_MAX && bytes <= OUTPUTS_KEPT_BYTES {
            self.output_bytes.set(bytes);
            outputs.push(memory);
        }
    }

    /// A header list; the next header block overwrites what it holds.
    pub fn take_fields(&self) -> Box<Fields> {
        self.fields.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps the memory of a header list.
    pub fn keep_fields(&self, fields: Box<Fields>) {
        let mut kept = self.fields.borrow_mut();
        if kept.len() < FIELDS_KEPT_MAX && fields.capacity_bytes() <= FIELDS_KEPT_BYTES {
            kept.push(fields);
        }
    }

    /// What a new stream's task and its driver share.
    pub(super) fn take_stream(&self, id: StreamId) -> Rc<Shared> {
        if let Some(mut kept) = self.streams.borrow_mut().pop()
            && let Some(shared) = Rc::get_mut(&mut kept)
        {
            shared.id = id;
            return kept;
        }
        Rc::new(Shared::new(id))
    }

    /// Keeps the memory of a stream whose handle is being dropped, unless somebody else knows it still.
    pub(super) fn keep_stream(&self, shared: Rc<Shared>) {
        let mut kept = self.streams.borrow_mut();
        if kept.len() < STREAMS_KEPT_MAX && Rc::strong_count(&shared) == 2 {
            shared.clear();
            kept.push(shared);
        }
    }

    /// Lets go of what would keep the worker.
    pub fn clear(&self) {
        self.runners.clear();
    }

    /// A policy as the machine wants it; the last one asked for is remembered.
    pub fn limits(&self, policy: &Arc<ClientPolicy>) -> Arc<Limits> {
        let mut known = self.limits.borrow_mut();
        match known.as_ref() {
            Some((of, limits)) if Arc::ptr_eq(of, policy) => limits.clone(),
            _ => {
                let limits = Arc::new(limits_of(policy));
                *known = Some((policy.clone(), limits.clone()));
                limits
            }
        }
    }
}

/// A listener's limits for HTTP/2; what the policy leaves open is as for HTTP/1, or the machine's own.
fn limits_of(policy: &ClientPolicy) -> Limits {
    let defaults = Limits::default();
    let lines = policy.limits.header_lines.unwrap_or(HEADER_LINES_MAX as u32);
    let bytes = policy.limits.header_bytes.unwrap_or(HEAD_BYTES_MAX as u32);
    Limits {
        concurrent_streams_max: policy.http2.streams.unwrap_or(defaults.concurrent_streams_max),
        header_list_bytes_max: bytes.saturating_add(lines.saturating_mul(LINE_OVERHEAD_BYTES)),
        header_lines_max: lines,
        stream_window_bytes: policy.http2.stream_window_bytes.unwrap_or(defaults.stream_window_bytes),
        connection_window_bytes: policy
            .http2
            .connection_window_bytes
            .unwrap_or(defaults.connection_window_bytes),
        extended_connect: true,
        ..defaults
    }
}
