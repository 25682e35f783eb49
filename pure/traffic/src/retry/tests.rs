use super::*;
use proptest::prelude::*;

fn settings() -> Retry {
    Retry {
        codes: [500, 503].into(),
        grpc_codes: [14].into(),
        attempts: 3,
        connection_errors: true,
        timeouts: true,
        backoff: Duration::from_millis(100),
        backoff_max: Duration::from_millis(1000),
        attempt_timeout: None,
        budget_percent: None,
        budget_min_per_sec: 0,
    }
}

const GET: Repeatable = Repeatable { body: true, idempotent: true };
const POST: Repeatable = Repeatable { body: true, idempotent: false };

/// What a first attempt's end leads to.
fn after(settings: Option<&Retry>, outcome: AttemptEnd, request: Repeatable) -> Next {
    Attempts::new(settings).after(outcome, request, 0, None, || true)
}

/// The whole table: without settings, with all, and with none switched on, for methods that may be repeated and not.
#[test]
fn table() {
    use AttemptEnd::*;
    let all = settings();
    let off = Retry {
        codes: [].into(),
        grpc_codes: [].into(),
        connection_errors: false,
        timeouts: false,
        ..settings()
    };
    let (now, later) = (Next::Repeat(Duration::ZERO), Next::Repeat(Duration::from_millis(100)));
    let (unasked, unsafe_) = (Next::GiveUp(GiveUp::NotAsked), Next::GiveUp(GiveUp::NotRepeatable));
    for (outcome, bare_get, bare_post, get, post) in [
        (Status(200), unasked, unasked, unasked, unasked),
        (Status(404), unasked, unasked, unasked, unasked),
        (Status(500), unasked, unasked, later, later),
        (Status(502), unasked, unasked, unasked, unasked),
        (Grpc(0), unasked, unasked, unasked, unasked),
        (Grpc(14), unasked, unasked, later, later),
        (NotConnected, now, now, later, later),
        (StaleConnection, now, unsafe_, later, unsafe_),
        (Broken, unasked, unasked, later, unsafe_),
        (TimedOut, unasked, unasked, later, unsafe_),
    ] {
        for bare in [None, Some(&off)] {
            assert_eq!(after(bare, outcome, GET), bare_get, "{outcome:?} {bare:?}");
            assert_eq!(after(bare, outcome, POST), bare_post, "{outcome:?} {bare:?}");
        }
        assert_eq!(after(Some(&all), outcome, GET), get, "{outcome:?}");
        assert_eq!(after(Some(&all), outcome, POST), post, "{outcome:?}");
    }
}

/// A request whose body is gone is sent once, whatever happened.
#[test]
fn no_body_no_repeat() {
    for outcome in
        [AttemptEnd::Status(500), AttemptEnd::NotConnected, AttemptEnd::Broken, AttemptEnd::TimedOut]
    {
        let gone = Repeatable { body: false, idempotent: true };
        assert_eq!(after(Some(&settings()), outcome, gone), Next::GiveUp(GiveUp::NotRepeatable));
    }
}

/// There are as many repeats as the settings say, and one safe one without settings.
#[test]
fn attempts_are_counted() {
    for (settings, outcome, repeats) in [
        (Some(&settings()), AttemptEnd::Status(500), 3),
        (Some(&settings()), AttemptEnd::NotConnected, 3),
        (Some(&Retry { attempts: 0, ..settings() }), AttemptEnd::Status(500), 0),
        (Some(&Retry { attempts: 0, ..settings() }), AttemptEnd::NotConnected, 1),
        (None, AttemptEnd::NotConnected, 1),
        (None, AttemptEnd::StaleConnection, 1),
    ] {
        let mut attempts = Attempts::new(settings);
        for _ in 0..repeats {
            assert!(attempts.may_repeat());
            assert!(matches!(attempts.after(outcome, GET, 0, None, || true), Next::Repeat(_)));
        }
        let last = attempts.after(outcome, GET, 0, None, || true);
        assert_eq!((last, attempts.repeats()), (Next::GiveUp(GiveUp::AttemptsUsed), repeats));
    }
}

/// The budget is asked only when all else allows a repeat, and a repeat that it refuses is not counted.
#[test]
fn budget() {
    let settings = settings();
    let mut attempts = Attempts::new(Some(&settings));
    let refused = attempts.after(AttemptEnd::Status(500), GET, 0, None, || false);
    assert_eq!((refused, attempts.repeats()), (Next::GiveUp(GiveUp::BudgetSpent), 0));
    let unasked = attempts.after(AttemptEnd::Status(200), GET, 0, None, || panic!("asked without need"));
    assert_eq!(unasked, Next::GiveUp(GiveUp::NotAsked));
}

/// A pause that would outlast the request is not begun.
#[test]
fn time() {
    let settings = settings();
    let with = |remaining: u64| {
        let remaining = Some(Duration::from_millis(remaining));
        Attempts::new(Some(&settings)).after(AttemptEnd::Status(500), GET, 0, remaining, || true)
    };
    assert_eq!(with(100), Next::GiveUp(GiveUp::OutOfTime));
    assert_eq!(with(101), Next::Repeat(Duration::from_millis(100)));
    let over = Some(Duration::ZERO);
    let next = Attempts::new(None).after(AttemptEnd::NotConnected, GET, 0, over, || true);
    assert_eq!(next, Next::GiveUp(GiveUp::OutOfTime));
}

/// Methods are idempotent as RFC 9110 lists them, in their own case.
#[test]
fn methods() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert!(Repeatable::of(method, true).idempotent, "{method}");
    }
    for method in ["POST", "PATCH", "CONNECT", "get", "PROPFIND", ""] {
        assert!(!Repeatable::of(method, true).idempotent, "{method}");
    }
}

/// An attempt has the nearest of its limits; zero is none.
#[test]
fn attempt_limits() {
    let secs = Duration::from_secs;
    let with = |own: Option<u64>, rule: Option<u64>, remaining: Option<u64>| {
        let settings = Retry { attempt_timeout: own.map(secs), ..settings() };
        let timeouts = Timeouts { backend_request: rule.map(secs), ..Timeouts::default() };
        attempt_limit(Some(&settings), &timeouts, remaining.map(secs))
    };
    assert_eq!(with(Some(2), Some(5), Some(9)), Some(secs(2)));
    assert_eq!(with(None, Some(5), Some(9)), Some(secs(5)));
    assert_eq!(with(None, Some(5), Some(3)), Some(secs(3)));
    assert_eq!(with(None, Some(0), Some(3)), Some(secs(3)));
    assert_eq!(with(Some(0), Some(5), None), None);
    assert_eq!(with(None, None, None), None);
}

proptest! {
    /// A pause is at least what was asked for and at most the doubled bound, for any settings.
    #[test]
    fn pauses(backoff_ms in 0u64..5000, max_ms in 0u64..20_000, attempts in 0u32..80, random: u64) {
        let settings = Retry {
            backoff: Duration::from_millis(backoff_ms),
            backoff_max: Duration::from_millis(max_ms),
            attempts: u32::MAX,
            ..settings()
        };
        let found = pause(&settings, attempts, random);
        prop_assert!(found >= settings.backoff);
        prop_assert!(found <= settings.backoff_max.max(settings.backoff));
        let doubled = u128::from(backoff_ms) << (attempts + 1).min(64);
        prop_assert!(found.as_millis() <= doubled.max(u128::from(backoff_ms)));
    }
}
