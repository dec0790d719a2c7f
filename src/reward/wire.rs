//! Expressions as a list of plain nodes: how they pass to other libraries, to disk and back.

use std::str::FromStr;

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::budget::{MAX_DEPTH, MAX_EXPRESSION, MAX_MATRIX, MAX_NODES};
use super::expr::{Arena, Binder, Constant, Function, Id, Kids, Node, Number, NumberSet, Relation};

/// A node: its kind, what else it says, and the places of its children, which precede it.
pub type WireNode = (String, String, Vec<u32>);

/// Most children of all nodes together.
const MAX_PARTS: usize = 1 << 15;

/// What can be found by its name.
trait Named: Copy + 'static {
    const NAMES: &'static [(&'static str, Self)];

    fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

macro_rules! names {
    ($type:ident { $($variant:ident = $name:literal),* $(,)? }) => {
        impl Named for $type {
            const NAMES: &'static [(&'static str, Self)] = &[$(($name, Self::$variant)),*];
        }

        impl $type {
            /// Its name, as sympy spells it where sympy has it.
            pub fn name(self) -> &'static str {
                // A match, so that the compiler asks for the name of a new variant.
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

names! { Constant {
    Pi = "pi", E = "E", I = "I", EulerGamma = "EulerGamma", Infinity = "oo",
    NegativeInfinity = "-oo",
} }

names! { Function {
    Sin = "sin", Cos = "cos", Tan = "tan", Csc = "csc", Sec = "sec", Cot = "cot",
    Asin = "asin", Acos = "acos", Atan = "atan", Acsc = "acsc", Asec = "asec", Acot = "acot",
    Sinh = "sinh", Cosh = "cosh", Tanh = "tanh", Asinh = "asinh", Acosh = "acosh",
    Atanh = "atanh", Exp = "exp", Log = "log", Abs = "Abs", Floor = "floor", Ceil = "ceiling",
    Factorial = "factorial", Binomial = "binomial", Gamma = "gamma", Gcd = "gcd", Lcm = "lcm",
    Max = "Max", Min = "Min", Mod = "Mod", Conjugate = "conjugate", Re = "re", Im = "im",
    Arg = "arg", Det = "det", Trace = "trace", Rank = "rank", Transpose = "transpose",
    Norm = "norm",
} }

names! { Binder {
    Sum = "Sum", Product = "Product", Integral = "Integral", LimitRight = "Limit+",
    LimitLeft = "Limit-", Limit = "Limit", Derivative = "Derivative",
} }

names! { Relation { Eq = "Eq", Ne = "Ne", Lt = "<", Le = "<=", Gt = ">", Ge = ">=" } }

names! { NumberSet {
    Naturals = "Naturals", Integers = "Integers", Rationals = "Rationals", Reals = "Reals",
    Complexes = "Complexes", Primes = "Primes",
} }

/// A number written as an integer or a quotient of integers.
pub(crate) fn rational(text: &str) -> Option<RBig> {
    let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
    let denominator = UBig::from_str(denominator).ok()?;
    // The library's own parser lets 1/0 through.
    (!denominator.is_zero()).then_some(())?;
    Some(RBig::from_parts(IBig::from_str(numerator).ok()?, denominator))
}

/// The nodes below `root`, children first and `root` last.
pub fn to_wire(arena: &Arena, root: Id) -> Vec<WireNode> {
    let mut places: Vec<Option<u32>> = vec![None; arena.len()];
    if let Some(place) = places.get_mut(root.index()) {
        *place = Some(0);
    }
    for id in arena.ids().rev() {
        if places[id.index()].is_some() {
            arena.children(id).for_each(|child| places[child.index()] = Some(0));
        }
    }
    let mut nodes = Vec::new();
    for id in arena.ids() {
        if places[id.index()].is_none() {
            continue;
        }
        places[id.index()] = Some(nodes.len() as u32);
        let kids = arena.children(id).filter_map(|child| places[child.index()]).collect();
        let (kind, data) = describe(arena, arena.node(id));
        nodes.push((kind.to_string(), data, kids));
    }
    nodes
}

fn describe(arena: &Arena, node: Node) -> (&'static str, String) {
    let (kind, data) = match node {
        Node::Number(id) => {
            let number = arena.number(id);
            let kind = if number.decimal { "decimal" } else { "number" };
            return (kind, number.value.to_string());
        }
        Node::Constant(constant) => ("constant", constant.name()),
        Node::Symbol(name) => ("symbol", arena.name(name)),
        Node::Add(_) => ("add", ""),
        Node::Mul(_) => ("mul", ""),
        Node::Pow(..) => ("pow", ""),
        Node::Apply(function, _) => ("apply", function.name()),
        Node::Call(name, _) => ("call", arena.name(name)),
        Node::Percent(_) => ("percent", ""),
        Node::Bind(binder, _) => ("bind", binder.name()),
        Node::Matrix { rows, columns, .. } => return ("matrix", format!("{rows}x{columns}")),
        Node::Set(_) => ("set", ""),
        Node::List(_) => ("set", "list"),
        Node::Tuple(_) => ("tuple", ""),
        Node::Interval { low_open, high_open, .. } => {
            let brackets = match (low_open, high_open) {
                (false, false) => "[]",
                (false, true) => "[)",
                (true, false) => "(]",
                (true, true) => "()",
            };
            ("interval", brackets)
        }
        Node::Union(_) => ("union", ""),
        Node::Intersection(_) => ("intersection", ""),
        Node::Difference(..) => ("difference", ""),
        Node::NumberSet(set) => ("number_set", set.name()),
        Node::Relation(relation, ..) => ("relation", relation.name()),
        Node::Chain(_) => ("chain", ""),
        Node::Not(_) => ("not", ""),
    };
    (kind, data.to_string())
}

/// The expression that such a list describes, or nothing if it describes none.
pub fn from_wire(nodes: &[WireNode]) -> Option<(Arena, Id)> {
    // A little more than the parser makes before it looks.
    let parts: usize = nodes.iter().map(|(_, _, kids)| kids.len()).sum();
    if nodes.len() > 2 * MAX_NODES || parts > MAX_PARTS {
        return None;
    }
    let mut arena = Arena::new();
    let mut ids: Vec<Id> = Vec::with_capacity(nodes.len());
    // Evaluation recurses from binder to binder.
    let mut binders: Vec<usize> = Vec::with_capacity(nodes.len());
    for (kind, data, kids) in nodes {
        let below = kids.iter().filter_map(|&kid| binders.get(kid as usize)).max();
        let depth = below.map_or(0, |&depth| depth) + usize::from(kind == "bind");
        if depth > MAX_DEPTH {
            return None;
        }
        binders.push(depth);
        let kids: Vec<Id> =
            kids.iter().map(|&kid| ids.get(kid as usize).copied()).collect::<Option<_>>()?;
        ids.push(build(&mut arena, kind, data, &kids)?);
    }
    ids.last().map(|&root| (arena, root))
}

fn build(arena: &mut Arena, kind: &str, data: &str, kids: &[Id]) -> Option<Id> {
    let none = || kids.is_empty().then_some(());
    let one = || if let [a] = kids { Some(*a) } else { None };
    let two = || if let [a, b] = kids { Some((*a, *b)) } else { None };
    let some = |least: usize, most: usize| (least..=most).contains(&kids.len()).then_some(());
    type Build = fn(Kids) -> Node;
    let list: Option<Build> = match kind {
        "add" => Some(Node::Add),
        "mul" => Some(Node::Mul),
        "set" if data == "list" => Some(Node::List),
        "set" => Some(Node::Set),
        "tuple" => Some(Node::Tuple),
        "union" => Some(Node::Union),
        "intersection" => Some(Node::Intersection),
        "chain" => Some(Node::Chain),
        _ => None,
    };
    if let Some(list) = list {
        let kids = arena.list(kids);
        return Some(arena.push(list(kids)));
    }
    let node = match kind {
        "number" | "decimal" => {
            none()?;
            (data.len() <= MAX_EXPRESSION).then_some(())?;
            let value = rational(data)?;
            return Some(arena.push_number(Number { value, decimal: kind == "decimal" }));
        }
        "constant" => {
            none()?;
            Node::Constant(Constant::from_name(data)?)
        }
        "symbol" => {
            none()?;
            return Some(arena.symbol(data));
        }
        "pow" => {
            let (base, exponent) = two()?;
            Node::Pow(base, exponent)
        }
        "apply" => {
            let function = Function::from_name(data)?;
            match function {
                Function::Log | Function::Binomial | Function::Mod => some(2, 2)?,
                Function::Gcd | Function::Lcm | Function::Max | Function::Min => {
                    some(1, MAX_NODES)?;
                }
                _ => some(1, 1)?,
            }
            Node::Apply(function, arena.list(kids))
        }
        "call" => {
            let name = arena.intern(data);
            Node::Call(name, arena.list(kids))
        }
        "percent" => Node::Percent(one()?),
        "bind" => {
            let binder = Binder::from_name(data)?;
            match binder {
                Binder::Sum | Binder::Product => some(4, 4)?,
                Binder::Integral if kids.len() == 4 => {}
                Binder::Integral | Binder::Derivative => some(2, 2)?,
                Binder::Limit | Binder::LimitLeft | Binder::LimitRight => some(3, 3)?,
            }
            Node::Bind(binder, arena.list(kids))
        }
        "matrix" => {
            let (rows, columns) = data.split_once('x')?;
            let (rows, columns) = (rows.parse::<u32>().ok()?, columns.parse::<u32>().ok()?);
            let entries = (rows as usize).checked_mul(columns as usize)?;
            (entries == kids.len() && entries <= MAX_MATRIX).then_some(())?;
            Node::Matrix { rows, columns, entries: arena.list(kids) }
        }
        "interval" => {
            let (low, high) = two()?;
            let (low_open, high_open) = match data {
                "[]" => (false, false),
                "[)" => (false, true),
                "(]" => (true, false),
                "()" => (true, true),
                _ => return None,
            };
            Node::Interval { low, high, low_open, high_open }
        }
        "difference" => {
            let (a, b) = two()?;
            Node::Difference(a, b)
        }
        "number_set" => {
            none()?;
            Node::NumberSet(NumberSet::from_name(data)?)
        }
        "relation" => {
            let (a, b) = two()?;
            Node::Relation(Relation::from_name(data)?, a, b)
        }
        "not" => Node::Not(one()?),
        _ => return None,
    };
    Some(arena.push(node))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn node(kind: &str, data: &str, kids: &[u32]) -> WireNode {
        (kind.to_string(), data.to_string(), kids.to_vec())
    }

    /// One node of every kind.
    fn every_kind() -> Vec<WireNode> {
        let mut nodes = vec![
            node("number", "-3/4", &[]),
            node("decimal", "1/2", &[]),
            node("symbol", "x_1", &[]),
        ];
        for (name, _) in Constant::NAMES {
            nodes.push(node("constant", name, &[]));
        }
        for (name, _) in NumberSet::NAMES {
            nodes.push(node("number_set", name, &[]));
        }
        for (name, _) in Relation::NAMES {
            nodes.push(node("relation", name, &[0, 2]));
        }
        for (name, function) in Function::NAMES {
            let two = matches!(function, Function::Log | Function::Binomial | Function::Mod);
            nodes.push(node("apply", name, if two { &[0, 1] } else { &[2] }));
        }
        for (name, kids) in [
            ("Sum", &[2, 2, 0, 1][..]),
            ("Product", &[2, 2, 0, 1]),
            ("Integral", &[2, 2, 0, 1]),
            ("Integral", &[2, 2]),
            ("Limit", &[2, 2, 0]),
            ("Limit+", &[2, 2, 0]),
            ("Limit-", &[2, 2, 0]),
            ("Derivative", &[2, 2]),
        ] {
            nodes.push(node("bind", name, kids));
        }
        for brackets in ["[]", "[)", "(]", "()"] {
            nodes.push(node("interval", brackets, &[0, 1]));
        }
        for kind in ["add", "mul", "set", "tuple", "union", "intersection", "chain"] {
            nodes.push(node(kind, "", &[0, 1, 2]));
        }
        for kind in ["pow", "difference"] {
            nodes.push(node(kind, "", &[0, 1]));
        }
        for kind in ["percent", "not"] {
            nodes.push(node(kind, "", &[2]));
        }
        nodes.push(node("call", "f", &[2]));
        nodes.push(node("matrix", "1x2", &[0, 1]));
        let all: Vec<u32> = (0..nodes.len() as u32).collect();
        nodes.push(node("tuple", "", &all));
        nodes
    }

    #[test]
    fn every_kind_survives_the_trip() {
        let nodes = every_kind();
        let (arena, root) = from_wire(&nodes).unwrap();
        assert_eq!(to_wire(&arena, root), nodes);
    }

    #[test]
    fn what_is_not_below_the_root_stays_behind() {
        let mut arena = Arena::new();
        let (x, y) = (arena.symbol("x"), arena.symbol("y"));
        let _unused = arena.add(&[x, y]);
        let root = arena.pow(y, y);
        let expected = vec![node("symbol", "y", &[]), node("pow", "", &[0, 0])];
        assert_eq!(to_wire(&arena, root), expected);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            vec![],
            vec![node("number", "1/0", &[])],
            vec![node("number", "one", &[])],
            vec![node("add", "", &[0])],
            vec![node("symbol", "x", &[]), node("symbol", "y", &[0])],
            vec![node("symbol", "x", &[]), node("pow", "", &[0])],
            vec![node("symbol", "x", &[]), node("apply", "sine", &[0])],
            vec![node("symbol", "x", &[]), node("apply", "log", &[0])],
            vec![node("symbol", "x", &[]), node("matrix", "2x1", &[0])],
            vec![node("symbol", "x", &[]), node("matrix", "4294967295x4294967295", &[0])],
            vec![node("symbol", "x", &[]), node("interval", "]]", &[0, 0])],
            vec![node("symbol", "x", &[]); 2 * MAX_NODES + 1],
        ] {
            assert!(from_wire(&bad).is_none(), "{bad:?}");
        }
    }
}
