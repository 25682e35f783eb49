//! Any trace context is carried on as it was or begun anew: what is written is read again as the same trace, never sampled by
//! what could not be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{Source, header_lines};
use tidegate_traffic::trace::{Sampling, Trace};

const NAMES: [&str; 3] = ["traceparent", "Traceparent", "tracestate"];

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let lines = header_lines(&mut source, &NAMES);
    let trace = Trace::of(&lines, Sampling::of(0.0), [1, 2, 3]);
    assert!(trace.trace_id != [0; 16] && trace.span_id != [0; 8]);
    assert!(trace.parent_id.is_some() || !(trace.sampled || trace.keeps_state), "{trace:?}");
    let mut out = Vec::new();
    trace.write(&mut out);
    assert_eq!(out.len(), Trace::LINE_BYTES);
    let value =
        out.strip_prefix(b"traceparent: ").and_then(|line| line.strip_suffix(b"\r\n")).expect("one line");
    let again = Trace::of(&vec![("traceparent", value)], Sampling::of(0.0), [4, 5, 6]);
    assert_eq!((again.trace_id, again.sampled), (trace.trace_id, trace.sampled));
    assert_eq!(again.parent_id, Some(trace.span_id));
});
