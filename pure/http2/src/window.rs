//! A receive window (RFC 9113 section 6.9): what the peer may still send, and what was used up and is to be given back.
//! Never writes the frame.

/// One receive window. `left` + received and not yet released + `credit` is always its `size`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceiveWindow {
    left: u32,
    credit: u32,
    size: u32,
}

impl ReceiveWindow {
    pub fn new(bytes: u32) -> ReceiveWindow {
        ReceiveWindow { left: bytes, credit: 0, size: bytes }
    }

    /// Takes in `bytes`; `false` if the window is too small for them.
    pub fn take(&mut self, bytes: u32) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Bytes received and not yet released.
    pub fn held(&self) -> u32 {
        self.size - self.left - self.credit
    }

    /// Gives `bytes` back, never more than are held. An update is due once half the size has gathered; the size doubles with
    /// it, up to `size_max`.
    pub fn release(&mut self, bytes: u32, size_max: u32) -> Option<u32> {
        self.credit += bytes.min(self.held());
        if self.credit == 0 || self.credit < self.size / 2 {
            return None;
        }
        let grown = self.size.saturating_mul(2).min(size_max).saturating_sub(self.size);
        self.size += grown;
        let update = std::mem::take(&mut self.credit) + grown;
        self.left += update;
        Some(update)
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

    /// A window that may grow doubles as it is used, to its bound and no further.
    #[test]
    fn windows_grow_with_use() {
        let mut window = ReceiveWindow::new(100);
        assert!(window.take(50));
        assert_eq!((window.held(), window.release(50, 300)), (50, Some(150)));
        assert!(window.take(200) && !window.take(1));
        assert_eq!((window.release(99, 300), window.held()), (None, 101));
        assert_eq!(window.release(1, 300), Some(200));
        assert_eq!(window.release(100, 300), None);
        assert_eq!(window.release(1, 300), None, "nothing is held");
        assert!(window.take(200));
        assert_eq!(window.release(200, 300), Some(300));
        assert!(window.take(300) && !window.take(1));
    }
}
