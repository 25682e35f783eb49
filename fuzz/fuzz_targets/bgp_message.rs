//! Any body of any BGP message is read or refused, never a panic; what is read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_bgp::PeerKind;
use tidegate_bgp::packet::{
    Frame, Framer, Message, MessageKind, Update, UpdateContext, encode_announcements, encode_withdrawals,
    route_refresh,
};
use tidegate_fuzz::Source;

fn read(bytes: &[u8], context: &UpdateContext) -> Message {
    let mut framer = Framer::new();
    let frame = framer.next(&mut &*bytes).expect("our header is sound").expect("our message is whole");
    Message::decode(frame, context).expect("our message is sound")
}

/// Same attributes and prefixes after writing and reading, prefix by prefix in order.
fn check_update(update: &Update, context: &UpdateContext) {
    if update.treat_as_withdraw.is_some() {
        assert!(update.announced.is_empty(), "treated as withdrawn, yet announces");
    }
    for announced in &update.announced {
        let Ok(messages) = encode_announcements(
            &update.attributes,
            announced.next_hop,
            &announced.prefixes,
            context.four_byte_as,
        ) else {
            continue;
        };
        let mut prefixes = Vec::new();
        for bytes in messages {
            let Message::Update(again) = read(&bytes, context) else { panic!("not an UPDATE") };
            assert_eq!((&again.treat_as_withdraw, &again.discarded), (&None, &Vec::new()), "{update:?}");
            assert_eq!(again.attributes, update.attributes);
            prefixes.extend(again.announced.into_iter().flat_map(|announced| announced.prefixes));
        }
        assert_eq!(prefixes, announced.prefixes);
    }
    let withdrawn: Vec<_> = encode_withdrawals(&update.withdrawn)
        .iter()
        .flat_map(|bytes| match read(bytes, context) {
            Message::Update(again) => again.withdrawn,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(withdrawn, update.withdrawn);
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let flags = source.byte();
    let Some(kind) = MessageKind::from_code(source.byte() % 5 + 1) else { return };
    let context = UpdateContext {
        kind: if flags & 1 == 0 { PeerKind::External } else { PeerKind::Internal },
        peer_as: 65001,
        four_byte_as: flags & 2 == 0,
        enforce_first_as: flags & 4 != 0,
    };
    match Message::decode(Frame { kind, body: source.0 }, &context) {
        Err(error) => {
            let told = read(&error.notification.encode(), &context);
            assert_eq!(told, Message::Notification(error.notification), "a fault must be told as it is");
        }
        Ok(Message::Open(open)) => {
            let Message::Open(again) = read(&open.encode(), &context) else { panic!("not an OPEN") };
            // Capabilities beyond 255 bytes are left out.
            if again.capabilities.len() == open.capabilities.len() {
                assert_eq!(again, open);
            }
        }
        Ok(Message::Update(update)) => check_update(&update, &context),
        Ok(Message::Notification(notification)) => {
            assert!(!notification.to_string().contains(char::is_control), "a log line must stay one line");
            if notification.data.len() <= 4096 - 21 {
                assert_eq!(read(&notification.encode(), &context), Message::Notification(notification));
            }
        }
        Ok(Message::Keepalive) => {}
        Ok(message @ Message::RouteRefresh { family, subtype }) => {
            let again = read(&route_refresh(family), &context);
            assert_eq!(again == message, subtype == 0);
        }
    }
});
