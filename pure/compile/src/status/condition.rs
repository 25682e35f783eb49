//! Conditions, in the making.

use tidegate_model::status::{Condition, ConditionStatus};

/// The conditions of one object: all are found for the same generation.
#[derive(Clone, Copy)]
pub(super) struct Conditions(pub i64);

/// Why something does not hold: a reason and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Why {
    pub reason: &'static str,
    pub message: String,
}

impl Why {
    pub fn new(reason: &'static str, message: impl Into<String>) -> Why {
        Why { reason, message: message.into() }
    }
}

impl Conditions {
    pub fn make(
        self,
        condition_type: &'static str,
        status: ConditionStatus,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Condition {
        Condition { condition_type, status, reason, message: message.into(), observed_generation: self.0 }
    }

    /// It holds, for this reason.
    pub fn holds(self, condition_type: &'static str, reason: &'static str, message: &str) -> Condition {
        self.make(condition_type, ConditionStatus::True, reason, message)
    }

    /// It does not hold.
    pub fn fails(self, condition_type: &'static str, why: &Why) -> Condition {
        self.make(condition_type, ConditionStatus::False, why.reason, why.message.clone())
    }

    /// It holds, with its own name for a reason, unless there is a reason why not.
    pub fn unless(self, condition_type: &'static str, why: Option<&Why>) -> Condition {
        match why {
            Some(why) => self.fails(condition_type, why),
            None => self.holds(condition_type, condition_type, ""),
        }
    }
}
