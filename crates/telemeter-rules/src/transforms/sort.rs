//! Sorts what the client uploads: a server takes a family's samples only in order of time.

use telemeter_wire::{Points, SeriesSet};

/// Sorts each family (a run of series of one name and type) by time, oldest first, and then the families by their oldest
/// sample. Families stay in one piece; what is equally old stays in order.
pub fn sort(set: &mut SeriesSet<'_>) {
    let time = |points: Points<'_>| match points {
        Points::Sample(sample) => sample.timestamp_ms,
        Points::Encoded(encoded) => encoded.newest_ms,
        Points::Absent => None,
    };
    // Of each series: the oldest time of its family, the family's place, its own time.
    let mut keys: Vec<(Option<i64>, usize, Option<i64>)> = Vec::with_capacity(set.len());
    let mut first = 0;
    for index in 0..set.len() {
        let series = set.at(index);
        let before = index.checked_sub(1).map(|before| set.at(before));
        if before.is_none_or(|before| before.kind != series.kind || before.name() != series.name()) {
            first = index;
        }
        let own = time(series.points);
        keys.push((own, first, own));
        let oldest = keys[first].0.min(own);
        keys[first].0 = oldest;
    }
    for index in 0..keys.len() {
        keys[index].0 = keys[keys[index].1].0;
    }
    set.sort_by_index_key(|index| keys[index]);
}

#[cfg(test)]
mod tests {
    use telemeter_wire::{Arena, Limits, exposition::text};

    use super::*;
    use crate::testing::text_of;

    #[test]
    fn the_oldest_comes_first_and_families_stay_whole() {
        let check = |body: &str, expected: &str| {
            let arena = Arena::new();
            let mut set = SeriesSet::new_in(&arena);
            text::decode(body.as_bytes(), &Limits::default(), &mut set).expect("a text");
            sort(&mut set);
            assert_eq!(text_of(&set), expected);
        };
        check("a 1 9\na 2 7\nb 3 8\nb 4 8\n", "a 2 7\na 1 9\nb 3 8\nb 4 8\n");
        check("a 1 9\nb 2 8\nb 3 8\nc 4 9\n", "b 2 8\nb 3 8\na 1 9\nc 4 9\n");
        check("", "");
    }
}
