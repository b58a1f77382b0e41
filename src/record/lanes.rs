//! Where spans are drawn: on lanes, on each of which one follows the other or lies wholly within it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use super::{Kind, Record};

/// Where a span is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    /// What the lane belongs to: a stage, the transfers.
    pub(super) group: String,
    /// Which lane of the group, from 0.
    pub(super) number: usize,
    /// In how many others it lies.
    pub(super) depth: usize,
}

/// Finds the lane of each span of a record.
pub(super) fn of(record: &Record) -> Vec<Lane> {
    let mut order: Vec<usize> = (0..record.spans.len()).collect();
    order.sort_by_key(|position| (record.spans[*position].begun, Reverse(record.spans[*position].elapsed), *position));
    let mut lanes = vec![Lane { group: String::new(), number: 0, depth: 0 }; record.spans.len()];
    // Of each lane of a group, when those end that are going on.
    let mut groups: BTreeMap<String, Vec<Vec<Duration>>> = BTreeMap::new();
    for position in order {
        let span = &record.spans[position];
        let group = group(record, position);
        let ends = groups.entry(group.clone()).or_default();
        for lane in ends.iter_mut() {
            while lane.last().is_some_and(|end| *end <= span.begun) {
                lane.pop();
            }
        }
        let fits = |lane: &Vec<Duration>| lane.last().is_none_or(|end| *end >= span.ended());
        let number = ends.iter().position(fits).unwrap_or(ends.len());
        if number == ends.len() {
            ends.push(Vec::new());
        }
        lanes[position] = Lane { group, number, depth: ends[number].len() };
        ends[number].push(span.ended());
    }
    lanes
}

fn group(record: &Record, position: usize) -> String {
    let span = &record.spans[position];
    match span.kind {
        Kind::Transfer => "transfers".to_owned(),
        Kind::Request => "requests".to_owned(),
        Kind::Wait => "waits".to_owned(),
        Kind::Build | Kind::Stage | Kind::Step | Kind::Phase => match record.stage_of(span) {
            Some(stage) => format!("stage {}", stage.name),
            None => "build".to_owned(),
        },
    }
}
