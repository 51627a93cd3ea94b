use super::*;

use crate::full_topology as full;

#[test]
fn the_shipped_topology_as_mermaid() {
    insta::assert_snapshot!(mermaid(&Topology::shipped().unwrap()));
}

#[test]
fn every_form_of_declaration_as_mermaid() {
    insta::assert_snapshot!(mermaid(&full()));
}

/// Reads XML as strictly as its nesting, quotes and entities allow to without a grammar; what elements hold, in order.
fn read_xml(text: &str) -> Vec<String> {
    let (mut open, mut held, mut rest) = (Vec::new(), Vec::new(), text);
    while let Some((before, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').unwrap();
        assert!(!before.contains('>'), "{before}");
        let mut plain = before.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
        assert_eq!(plain.matches('&').count(), plain.matches("&amp;").count(), "{before}");
        plain = plain.replace("&amp;", "&");
        assert!(plain.trim().is_empty() || !open.is_empty(), "text outside of elements: {before}");
        held.push(plain.trim().to_owned());
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        assert!(!tag.contains(['<', '&']), "{tag}");
        if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap());
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    held
}

#[test]
fn the_svg_is_well_formed_and_names_everything() {
    for topology in [Topology::shipped().unwrap(), full(), Topology::default()] {
        let held = read_xml(&svg(&topology)).join("");
        let topics = topology.topics.iter().map(|topic| &topic.name);
        let subscriptions = topology.subscriptions.iter().map(|subscription| &subscription.name);
        let services = topology.services.iter().map(|service| &service.name);
        let accounts = topology.service_accounts.iter().map(|account| &account.name);
        let archive = topology.archive.iter().map(|archive| &archive.bucket);
        for name in topics.chain(subscriptions).chain(services).chain(accounts).chain(archive) {
            assert!(held.contains(name.as_str()), "{name}");
            assert!(mermaid(&topology).contains(name.as_str().trim_start_matches("{project}")), "{name}");
        }
    }
}

#[test]
fn filters_are_shown_as_they_are() {
    let held = read_xml(&svg(&full())).join("");
    // A line ends where a space was.
    let without_spaces = held.replace(' ', "");
    for subscription in full().subscriptions.iter().filter_map(|subscription| subscription.filter.as_ref()) {
        assert!(without_spaces.contains(&subscription.to_string().replace(' ', "")), "{subscription}: {held}");
    }
    assert!(without_spaces.contains(r#"hasPrefix(attributes.priority,"<")"#), "{held}");
    assert!(held.contains("https://example.com/push?a=b&c"), "{held}");
}

/// Boxes keep apart, inside the picture; lines lead rightwards from box to box.
#[test]
fn nothing_lies_on_something_else() {
    let topology = full();
    let graph = Graph::of(&topology);
    let sizes: Vec<_> = graph.nodes.iter().map(|node| (100.0 + node.name.len() as f64, 40.0)).collect();
    let layout::Layout { boxes, paths, width, height } = layout::layout(&graph, &sizes);
    for (index, a) in boxes.iter().enumerate() {
        assert!(a.x >= 0.0 && a.y >= 0.0 && a.x + a.width <= width && a.y + a.height <= height);
        for b in &boxes[index + 1..] {
            let apart_x = a.x + a.width < b.x || b.x + b.width < a.x;
            let apart_y = a.y + a.height < b.y || b.y + b.height < a.y;
            assert!(apart_x || apart_y, "{a:?} {b:?}");
        }
    }
    let mut back = 0;
    for (edge, path) in graph.edges.iter().zip(&paths) {
        let (first, last) = match path {
            layout::EdgePath::Forward(points) => {
                assert!(points.is_sorted_by(|a, b| a.0 <= b.0), "{points:?}");
                (points[0], *points.last().unwrap())
            }
            layout::EdgePath::Back { from, to, .. } => {
                back += 1;
                (*from, *to)
            }
        };
        let (from, to) = (boxes[edge.from], boxes[edge.to]);
        assert!(first.0 == from.x + from.width && (from.y..=from.y + from.height).contains(&first.1));
        assert!(last.0 == to.x && (to.y..=to.y + to.height).contains(&last.1));
    }
    assert_eq!(back, 1, "one edge closes the cycle");
}

#[test]
fn the_same_topology_is_the_same_picture() {
    assert_eq!(svg(&full()), svg(&full()));
}

#[test]
fn the_committed_picture_is_that_of_the_shipped_topology() {
    let committed = include_str!("../../../topology.svg");
    let help = "make it again: cargo xtask graph --output infra/topology.svg";
    assert!(committed == svg(&Topology::shipped().unwrap()), "infra/topology.svg is an old one; {help}");
}
