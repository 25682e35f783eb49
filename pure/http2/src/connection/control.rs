//! The frames about streams and the connection (RFC 9113 sections 6.3 to 6.9). Each kind is counted, as each costs us
//! something and its sender almost nothing.

use super::{Closing, Connection, Event, SHUTDOWN_PING};
use crate::error::{ErrorCode, Fault, Flood, ResetBy};
use crate::frame::{self, Header, MAX_31, flag};
use crate::settings;
use crate::stream::Wait;

/// An update below this is tiny.
const TINY_UPDATE_BYTES: u32 = 1024;

type Outcome = Result<Option<Event<'static>>, Fault>;

impl Connection {
    /// PRIORITY is deprecated: looked at only to be refused where it is wrong (section 5.3.2).
    pub(super) fn priority(&mut self, header: Header, payload: &[u8]) -> Outcome {
        if header.stream == 0 {
            return Err(Fault::WrongStream);
        }
        let (dependency, _) =
            frame::u32_of(payload).filter(|(_, rest)| rest.len() == 1).ok_or(Fault::FrameSize)?;
        self.spend(Flood::Priority)?;
        if dependency & MAX_31 != header.stream {
            return Ok(None);
        }
        match self.streams.find(header.stream) {
            Some(id) => self.stream_error(id, Fault::SelfDependency),
            None => Err(Fault::SelfDependency),
        }
    }

    pub(super) fn rst_stream(&mut self, header: Header, payload: &[u8]) -> Outcome {
        let code = ErrorCode(whole_u32(payload)?);
        if header.stream == 0 {
            return Err(Fault::WrongStream);
        }
        let Some(stream) = self.streams.find(header.stream) else { return self.for_no_stream(header.stream) };
        if self.role == super::Role::Server {
            self.spend(Flood::RapidReset)?;
        }
        self.remove(stream);
        Ok(Some(Event::Reset { stream, by: ResetBy::Peer(code) }))
    }

    pub(super) fn settings(&mut self, header: Header, payload: &[u8]) -> Outcome {
        if header.stream != 0 {
            return Err(Fault::WrongStream);
        }
        if header.has(flag::ACK) {
            return self.settings_acked(payload);
        }
        self.spend(Flood::Settings)?;
        let before = self.peer;
        let mut smallest_table = before.header_table_bytes;
        self.peer.apply(payload, self.role == super::Role::Client, &mut smallest_table)?;
        self.peer_settings_seen = true;
        if smallest_table < before.header_table_bytes {
            self.empty_table_due = true;
        }
        let change = i64::from(self.peer.stream_window_bytes) - i64::from(before.stream_window_bytes);
        if change != 0 {
            self.move_windows(change)?;
        }
        settings::acknowledge(&mut self.output);
        Ok(Some(Event::Settings))
    }

    fn settings_acked(&mut self, payload: &[u8]) -> Outcome {
        if !payload.is_empty() {
            return Err(Fault::FrameSize);
        }
        if self.settings_acked {
            return self.spend(Flood::Settings).map(|()| None);
        }
        self.settings_acked = true;
        self.decoder.set_size_limit(self.limits.header_table());
        Ok(Some(Event::SettingsAcked))
    }

    /// A new initial window moves the windows of all streams, below zero if need be (section 6.9.2).
    fn move_windows(&mut self, change: i64) -> Result<(), Fault> {
        for (id, stream) in self.streams.iter_mut() {
            stream.send_window += change;
            if stream.send_window > MAX_31.into() {
                return Err(Fault::WindowOverflow);
            }
            if stream.wait == Wait::Window && stream.send_window > 0 {
                stream.wait = Wait::Queued;
                self.waiting.push_back(id);
            }
        }
        Ok(())
    }

    pub(super) fn pinged(&mut self, header: Header, payload: &[u8]) -> Outcome {
        if header.stream != 0 {
            return Err(Fault::WrongStream);
        }
        let payload: [u8; 8] = payload.try_into().map_err(|_| Fault::FrameSize)?;
        self.spend(Flood::Ping)?;
        if !header.has(flag::ACK) {
            frame::ping(&mut self.output, flag::ACK, payload);
            return Ok(None);
        }
        if payload == SHUTDOWN_PING && self.closing == Closing::Announced {
            self.finish_shutdown();
            return Ok(None);
        }
        Ok(Some(Event::Pong { payload }))
    }

    pub(super) fn peer_goes(&mut self, header: Header, payload: &[u8]) -> Outcome {
        if header.stream != 0 {
            return Err(Fault::WrongStream);
        }
        let (last, rest) = frame::u32_of(payload).ok_or(Fault::FrameSize)?;
        let (code, _) = frame::u32_of(rest).ok_or(Fault::FrameSize)?;
        if self.peer_last.is_some() {
            self.spend(Flood::Ignored)?;
        }
        let last = (last & MAX_31).min(self.peer_last.unwrap_or(MAX_31));
        self.peer_last = Some(last);
        Ok(Some(Event::GoAway { last, code: ErrorCode(code) }))
    }

    pub(super) fn window_update(&mut self, header: Header, payload: &[u8]) -> Outcome {
        let bytes = whole_u32(payload)? & MAX_31;
        if bytes < TINY_UPDATE_BYTES {
            self.spend(Flood::WindowUpdate)?;
        }
        if header.stream == 0 {
            self.send_window += i64::from(bytes);
            return match bytes {
                0 => Err(Fault::WindowZero),
                _ if self.send_window > MAX_31.into() => Err(Fault::WindowOverflow),
                _ => Ok(None),
            };
        }
        let Some(id) = self.streams.find(header.stream) else { return self.for_no_stream(header.stream) };
        if bytes == 0 {
            return self.stream_error(id, Fault::WindowZero);
        }
        let Some(stream) = self.streams.get_mut(id) else { return Ok(None) };
        stream.send_window += i64::from(bytes);
        if stream.send_window > MAX_31.into() {
            return self.stream_error(id, Fault::WindowOverflow);
        }
        if stream.wait == Wait::Window && stream.send_window > 0 {
            stream.wait = Wait::Queued;
            self.waiting.push_back(id);
        }
        Ok(None)
    }

    /// RST_STREAM and WINDOW_UPDATE may cross with a stream's end, but not come before its beginning (section 5.1).
    fn for_no_stream(&mut self, number: u32) -> Outcome {
        if number > self.past.last || number.is_multiple_of(2) {
            return Err(Fault::IdleStream);
        }
        self.spend(Flood::Ignored).map(|()| None)
    }
}

/// The one number of a frame that holds nothing else.
fn whole_u32(payload: &[u8]) -> Result<u32, Fault> {
    payload.try_into().map(u32::from_be_bytes).map_err(|_| Fault::FrameSize)
}
