//! What the HTTP/2 sessions of one worker share: memory for outputs and header lists, and limits as the machine wants them.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use tidegate_http2::{Fields, Limits};
use tidegate_model::traffic::ClientPolicy;

use super::runner::Runners;
use crate::framing::{HEAD_BYTES_MAX, HEADER_LINES_MAX};

/// Buffers kept of each kind.
const KEPT_MAX: usize = 64;

/// Bytes of all outputs kept; what is more is given back to the allocator.
const OUTPUTS_KEPT_BYTES: usize = 4 << 20;

/// A larger header list is given back to the allocator.
const FIELDS_KEPT_BYTES: usize = 16 * 1024;

/// The machine counts a header list with so much on top of each line (RFC 9113 section 6.5.2).
const LINE_OVERHEAD_BYTES: u32 = 32;

/// Shared by the sessions of a worker.
#[derive(Default)]
pub struct Kit {
    outputs: RefCell<Vec<Vec<u8>>>,
    output_bytes: Cell<usize>,
    fields: RefCell<Vec<Fields>>,
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
        if outputs.len() < KEPT_MAX && bytes <= OUTPUTS_KEPT_BYTES {
            self.output_bytes.set(bytes);
            outputs.push(memory);
        }
    }

    /// A header list without content.
    pub fn take_fields(&self) -> Fields {
        self.fields.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps the memory of a header list.
    pub fn keep_fields(&self, mut fields: Fields) {
        let mut kept = self.fields.borrow_mut();
        if kept.len() < KEPT_MAX && fields.capacity_bytes() <= FIELDS_KEPT_BYTES {
            fields.clear();
            kept.push(fields);
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
