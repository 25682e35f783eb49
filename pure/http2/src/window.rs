//! A receive window (RFC 9113 section 6.9): what the peer may still send, and what was used up and is to be given back.
//! Never writes the frame.

/// One receive window. `left` + received and not yet released + `credit` is always the size it was made with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceiveWindow {
    left: u32,
    credit: u32,
}

impl ReceiveWindow {
    pub fn new(bytes: u32) -> ReceiveWindow {
        ReceiveWindow { left: bytes, credit: 0 }
    }

    /// Takes in `bytes`; `false` if the window is too small for them.
    pub fn take(&mut self, bytes: u32) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Gives `bytes` back, never more than are missing from `size`. An update is due once half the size has gathered.
    pub fn release(&mut self, bytes: u32, size: u32) -> Option<u32> {
        let missing = size.saturating_sub(self.left).saturating_sub(self.credit);
        self.credit += bytes.min(missing);
        if self.credit == 0 || self.credit < size / 2 {
            return None;
        }
        self.left += self.credit;
        Some(std::mem::take(&mut self.credit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Updates are batched to half the window, and over-releasing never grows it.
    #[test]
    fn updates_are_batched_and_bounded() {
        let mut window = ReceiveWindow::new(100);
        assert!(window.take(60) && !window.take(41) && window.take(40));
        assert_eq!(window.release(49, 100), None);
        assert_eq!(window.release(1, 100), Some(50));
        assert_eq!(window.release(1000, 100), Some(50));
        assert_eq!(window.release(1000, 100), None);
        assert!(window.take(100) && !window.take(1));
    }
}
