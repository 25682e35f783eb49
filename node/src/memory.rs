//! What is left over of reading and compiling objects goes back to the machine: while they are read, memory grows to several
//! times of what stays, and so does the code that is mapped: most of it is for the start, and is not run again soon.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

/// From a change to giving back, so that workers have let go of what it replaced.
const SETTLE: Duration = Duration::from_millis(250);

/// Between two times: looking through the heap takes its locks for some milliseconds.
const REST: Duration = Duration::from_secs(5);

/// Memory that may be given back.
#[derive(Default)]
pub struct Leftovers {
    due: Option<Instant>,
    rest_until: Option<Instant>,
}

impl Leftovers {
    /// Something was read, and compiled or put into place.
    pub fn grown(&mut self) {
        let soonest = Instant::now() + SETTLE;
        self.due.get_or_insert(self.rest_until.map_or(soonest, |rest| rest.max(soonest)));
    }

    /// Waits until it is time, and gives back what is free. Waits for ever if there is nothing.
    pub async fn give_back(&mut self) {
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
        self.due = None;
        if self.rest_until.replace(Instant::now() + REST).is_none() {
            unmap_code();
        }
        trim();
    }
}

/// Takes the program's code and constants out of the page table, once; what is needed comes back from the page cache, some
/// pages at a time.
fn unmap_code() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Ok(program) = std::env::current_exe() else { return };
    for (start, bytes) in maps.lines().filter_map(|line| code(line, &program)) {
        // SAFETY: the range is a mapping of this program's file that never was writable, and so was never written to: each
        // page is read from the file again when it is needed.
        unsafe { libc::madvise(std::ptr::without_provenance_mut(start), bytes, libc::MADV_DONTNEED) };
    }
}

/// Start and size of a line of `/proc/self/maps`, if it is code of this program, or its constants, which begin the file. What
/// is read-only behind them was writable once, for relocations.
fn code(line: &str, program: &Path) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let number = |digits| usize::from_str_radix(digits, 16).ok();
    let is_ours = Path::new(rest.splitn(5, ' ').nth(4)?.trim_start()) == program;
    let (start, end) = (number(start)?, number(end)?);
    let kind = rest.starts_with("r-xp ") || rest.starts_with("r--p 00000000 ");
    (is_ours && kind).then_some((start, end.checked_sub(start)?))
}

/// Gives free pages in the middle of the heap back, too; only this allocator keeps them.
#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: malloc_trim(3) may be called at any time, from any thread.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only code of the program itself counts, not its data and not that of libraries.
    #[test]
    fn lines_of_maps() {
        let program = Path::new("/usr/bin/tidegate");
        let text = "55d0c000-55d0e000 r-xp 0000c000 fe:00 1234       /usr/bin/tidegate";
        assert_eq!(code(text, program), Some((0x55d0_c000, 0x2000)));
        let constants = "55d00000-55d0c000 r--p 00000000 fe:00 1234       /usr/bin/tidegate";
        assert_eq!(code(constants, program), Some((0x55d0_0000, 0xc000)));
        for other in [
            "55d0e000-55d0f000 r--p 0000e000 fe:00 1234       /usr/bin/tidegate",
            "55d00000-55d0c000 rw-p 00000000 fe:00 1234       /usr/bin/tidegate",
            "7f000000-7f001000 r-xp 00000000 fe:00 99         /usr/lib/libc.so.6",
            "7f000000-7f001000 rw-p 00000000 00:00 0 ",
            "",
        ] {
            assert_eq!(code(other, program), None, "{other}");
        }
    }

    /// Many changes are one time to give back, soon after the first; the next waits for its rest.
    #[tokio::test(start_paused = true)]
    async fn once_for_many() {
        let (mut leftovers, start) = (Leftovers::default(), Instant::now());
        leftovers.grown();
        leftovers.grown();
        leftovers.give_back().await;
        assert_eq!(start.elapsed(), SETTLE);
        leftovers.grown();
        leftovers.give_back().await;
        assert_eq!(start.elapsed(), SETTLE + REST);
        assert!(tokio::time::timeout(REST * 2, leftovers.give_back()).await.is_err());
    }
}
