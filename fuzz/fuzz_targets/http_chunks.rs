//! How a chunked body is cut changes nothing; what is passed on is a chunked body that passes unchanged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::cut;
use tidegate_proxy::fuzz::{ChunkScanner, Emit, Malformed};

/// What is passed on, what follows the body; nothing while it is not over.
type Passed = Option<(Vec<u8>, Vec<u8>)>;

fn pass(pieces: &[&[u8]], emit: Emit) -> Result<Passed, Malformed> {
    let mut scanner = ChunkScanner::new(emit);
    let (mut held, mut passed) = (Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        let step = scanner.scan(&mut held)?;
        assert!(step.kept <= step.consumed && step.consumed <= held.len());
        passed.extend_from_slice(&held[..step.kept]);
        held.drain(..step.consumed);
    }
    passed.extend_from_slice(scanner.tail());
    Ok(scanner.is_done().then_some((passed, held)))
}

fuzz_target!(|data: &[u8]| {
    let Some((&seed, bytes)) = data.split_first() else { return };
    let whole = pass(&[bytes], Emit::Chunks);
    assert_eq!(pass(&cut(bytes, seed), Emit::Chunks), whole, "cuts change the body");
    let content = pass(&[bytes], Emit::Content);
    assert_eq!(content.as_ref().map(Option::is_some), whole.as_ref().map(Option::is_some));
    let (Ok(Some((passed, rest))), Ok(Some((content, same)))) = (whole, content) else { return };
    assert_eq!(rest, same);
    assert_eq!(pass(&[&passed], Emit::Chunks), Ok(Some((passed.clone(), vec![]))), "passes unchanged");
    assert_eq!(pass(&[&passed], Emit::Content), Ok(Some((content, vec![]))));
});
