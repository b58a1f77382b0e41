//! What differs between two images, for people.

use super::super::shown::{add, shown};
use super::of_areas;
use crate::image::{Change, FieldChange};
use crate::inspect::{Area, Diff, Difference, FieldDifference, LayerDifference, LayerState, PairDiff};

/// How many paths are listed at a time.
const MOST_PATHS: usize = 200;
/// How long two values may be to stand in one line, in bytes.
const SHORT: usize = 56;
const SAME: &str = "all that is told of the layers' entries";

/// Writes all differences; at the end what they come to.
pub(super) fn render(diff: &Diff, verdict: &str) -> String {
    let mut page = String::new();
    for (label, named) in [("a", &diff.a), ("b", &diff.b)] {
        add(&mut page, &format!("{label}  "), &shown(&named.name));
        add(&mut page, "   ", named.digest.as_str());
    }
    fields(&mut page, "index", &diff.index);
    for pair in &diff.images {
        if diff.images.len() > 1 {
            let areas = pair.areas().into_iter().map(Area::described).collect();
            let what = format!("{}: the images", pair.platform);
            page.push('\n');
            add(&mut page, "", &of_areas(&what, areas, pair.a == pair.b));
        }
        self::pair(&mut page, pair);
    }
    add(&mut page, "", verdict);
    page
}

fn pair(page: &mut String, pair: &PairDiff) {
    if pair.areas().is_empty() {
        return;
    }
    fields(page, "settings", &pair.fields);
    page.push_str("layers\n");
    for layer in &pair.layers {
        self::layer(page, layer);
    }
    if pair.files.is_empty() {
        return;
    }
    let mut of_layers: Vec<&Difference> = pair.layers.iter().flat_map(|layer| &layer.entries).collect();
    of_layers.sort_by_key(|one| &one.0.path);
    page.push_str("files\n");
    if of_layers.iter().copied().eq(&pair.files) {
        add(page, "  ", SAME);
    } else {
        differences(page, "  ", &pair.files);
    }
}

fn fields(page: &mut String, title: &str, fields: &[FieldDifference]) {
    if fields.is_empty() {
        return;
    }
    page.push_str(title);
    page.push('\n');
    // What differs in the same way is told once: when each line of history came, say.
    let mut told: Vec<(Vec<&str>, &FieldDifference)> = Vec::new();
    for field in fields {
        match told.iter_mut().find(|(_, known)| (&known.a, &known.b) == (&field.a, &field.b)) {
            Some((names, _)) => names.push(&field.field),
            None => told.push((vec![&field.field], field)),
        }
    }
    for (names, field) in told {
        add(page, "  ", &shown(&names.join(", ")));
        for (sign, value) in [("-", &field.a), ("+", &field.b)] {
            let text = match value {
                None => continue,
                Some(serde_json::Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            add(page, &format!("    {sign} "), &shown(&text));
        }
    }
}

fn layer(page: &mut String, layer: &LayerDifference) {
    let number = |number: Option<usize>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let place = if layer.a == layer.b { number(layer.a) } else { format!("{}/{}", number(layer.a), number(layer.b)) };
    let state = match layer.state {
        LayerState::Equal if layer.diff_id_a == layer.diff_id_b => "equal",
        LayerState::Equal => "equal in all that counts",
        LayerState::Compression => "compressed otherwise",
        LayerState::Order if layer.is_reordered => "the same entries in another order",
        LayerState::Order => "the same entries, written otherwise",
        LayerState::Entries if layer.is_reordered => "differs, and has another order",
        LayerState::Entries => "differs",
        LayerState::OnlyA => "only in a",
        LayerState::OnlyB => "only in b",
    };
    let made_by = layer.created_by.as_deref().unwrap_or_default();
    let short: String = shown(made_by).chars().take(100).collect();
    add(page, &format!("  {place:<5}"), format!("{state}: {short}").trim_end_matches(": "));
    if layer.state != LayerState::Equal {
        for (sign, id) in [("-", &layer.diff_id_a), ("+", &layer.diff_id_b)] {
            if let Some(id) = id.as_ref().filter(|_| layer.diff_id_a != layer.diff_id_b) {
                add(page, &format!("       {sign} "), id.as_str());
            }
        }
    }
    differences(page, "       ", &layer.entries);
}

fn in_line(one: &FieldChange) -> String {
    format!("{} {} -> {}", one.field.name(), shown(&one.a), shown(&one.b))
}

/// Tells whether both values have room in one line.
fn is_short(one: &FieldChange) -> bool {
    one.a.len() + one.b.len() <= SHORT
}

fn field(page: &mut String, indent: &str, one: &FieldChange) {
    if is_short(one) {
        return add(page, indent, &in_line(one));
    }
    add(page, indent, one.field.name());
    add(page, &format!("{indent}- "), &shown(&one.a));
    add(page, &format!("{indent}+ "), &shown(&one.b));
}

fn differences(page: &mut String, indent: &str, differences: &[Difference]) {
    for Difference(one) in differences.iter().take(MOST_PATHS) {
        let path = shown(&format!("/{}", one.path.to_string_lossy()));
        match &one.change {
            Change::Added(kind) => add(page, &format!("{indent}+ "), &format!("{path} ({kind})")),
            Change::Removed(kind) => add(page, &format!("{indent}- "), &format!("{path} ({kind})")),
            Change::Changed(fields) => match &fields[..] {
                [only] if is_short(only) => add(page, &format!("{indent}~ "), &format!("{path}: {}", in_line(only))),
                several => {
                    add(page, &format!("{indent}~ "), &path);
                    several.iter().for_each(|one| field(page, &format!("{indent}    "), one));
                }
            },
        }
    }
    if differences.len() > MOST_PATHS {
        let more = differences.len() - MOST_PATHS;
        add(page, indent, &format!("and {more} more paths: --format json has all"));
    }
}
