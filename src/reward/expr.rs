//! Expressions as read, before any simplification: an arena in which children precede parents, so
//! that every pass over an expression is a loop, never a recursion.

use dashu_int::IBig;
use dashu_ratio::RBig;

/// Index of a node in its [`Arena`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u32);

/// Index of a number in its [`Arena`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NumberId(u32);

/// Index of a name in its [`Arena`]. Equal names have equal indices within one arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NameId(u32);

/// A node's children: a stretch of the arena's list of children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kids {
    start: u32,
    len: u32,
}

impl Kids {
    /// How many children.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// A number as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Number {
    /// Its exact value.
    pub value: RBig,
    /// Written with a decimal point or an exponent. Conventions decide whether that makes it inexact.
    pub decimal: bool,
}

/// Constants with a name of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Constant {
    /// π
    Pi,
    /// Euler's number
    E,
    /// The imaginary unit
    I,
    /// The Euler–Mascheroni constant
    EulerGamma,
    /// +∞
    Infinity,
    /// −∞
    NegativeInfinity,
}

/// Functions whose value is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Function {
    Sin,
    Cos,
    Tan,
    Csc,
    Sec,
    Cot,
    Asin,
    Acos,
    Atan,
    Acsc,
    Asec,
    Acot,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Exp,
    /// Children: argument, base.
    Log,
    Abs,
    Floor,
    Ceil,
    Factorial,
    /// Children: n, k.
    Binomial,
    Gamma,
    Gcd,
    Lcm,
    Max,
    Min,
    /// Children: dividend, divisor.
    Mod,
    Conjugate,
    Re,
    Im,
    Arg,
    /// Determinant of a matrix.
    Det,
    Trace,
    Rank,
    Transpose,
    Norm,
}

/// Operators that bind a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binder {
    /// Children: body, variable, lower, upper.
    Sum,
    /// Children: body, variable, lower, upper.
    Product,
    /// Children: body, variable, and, if definite, lower, upper.
    Integral,
    /// Children: body, variable, the point approached.
    LimitRight,
    /// Children: body, variable, the point approached.
    LimitLeft,
    /// Children: body, variable, the point approached.
    Limit,
    /// Children: body, variable.
    Derivative,
}

/// Relation signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Relation {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Relation {
    /// The sign after the sides have changed places.
    pub fn mirrored(self) -> Self {
        match self {
            Relation::Lt => Relation::Gt,
            Relation::Le => Relation::Ge,
            Relation::Gt => Relation::Lt,
            Relation::Ge => Relation::Le,
            same => same,
        }
    }
}

/// Sets of numbers with a letter of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum NumberSet {
    Naturals,
    Integers,
    Rationals,
    Reals,
    Complexes,
    Primes,
}

/// One node of an expression.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Node {
    /// A number.
    Number(NumberId),
    /// A named constant.
    Constant(Constant),
    /// A variable, or a word.
    Symbol(NameId),
    /// A sum.
    Add(Kids),
    /// A product. A quotient a/b is `Mul[a, Pow(b, -1)]`.
    Mul(Kids),
    /// Base, exponent. A root is a power.
    Pow(Id, Id),
    /// A known function.
    Apply(Function, Kids),
    /// An unknown function: `f(x)`.
    Call(NameId, Kids),
    /// So many per cent: the child's hundredth part, remembered as written.
    Percent(Id),
    /// Sums, products, integrals, limits, derivatives.
    Bind(Binder, Kids),
    /// Entries row by row.
    Matrix {
        /// Rows.
        rows: u32,
        /// Columns.
        columns: u32,
        /// Entries, row by row.
        entries: Kids,
    },
    /// A finite set, elements in the order written.
    Set(Kids),
    /// A list without brackets: a set, or a tuple, as the other answer wants it.
    List(Kids),
    /// An ordered tuple, or a vector written as one.
    Tuple(Kids),
    /// An interval.
    Interval {
        /// Lower end.
        low: Id,
        /// Upper end.
        high: Id,
        /// Whether the lower end is left out.
        low_open: bool,
        /// Whether the upper end is left out.
        high_open: bool,
    },
    /// A union of sets.
    Union(Kids),
    /// An intersection of sets.
    Intersection(Kids),
    /// The first set without the second.
    Difference(Id, Id),
    /// ℕ, ℤ, ℚ, ℝ, ℂ, primes.
    NumberSet(NumberSet),
    /// A relation between two sides.
    Relation(Relation, Id, Id),
    /// A chain such as a < b < c: relations that all hold.
    Chain(Kids),
    /// A relation that does not hold (as from ∉).
    Not(Id),
}

/// The nodes of one or more expressions.
#[derive(Debug, Clone, Default)]
pub struct Arena {
    nodes: Vec<Node>,
    kids: Vec<Id>,
    numbers: Vec<Number>,
    names: Vec<Box<str>>,
}

impl Arena {
    /// An empty arena.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many nodes it holds.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Ids of all nodes, children before parents.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = Id> + use<> {
        (0..self.nodes.len() as u32).map(Id)
    }

    /// Adds a node; its children are already in the arena.
    pub fn push(&mut self, node: Node) -> Id {
        let id = Id(self.nodes.len() as u32);
        self.nodes.push(node);
        id
    }

    /// The node.
    pub fn node(&self, id: Id) -> Node {
        self.nodes[id.index()]
    }

    /// A node's children, of a list kept with [`Arena::list`].
    pub fn kids(&self, kids: Kids) -> &[Id] {
        &self.kids[kids.start as usize..][..kids.len as usize]
    }

    /// All children of a node, in order.
    pub fn children(&self, id: Id) -> Children<'_> {
        let (list, pair) = match self.node(id) {
            Node::Number(_) | Node::Constant(_) | Node::Symbol(_) | Node::NumberSet(_) => {
                (&[][..], [None; 2])
            }
            Node::Add(kids)
            | Node::Mul(kids)
            | Node::Apply(_, kids)
            | Node::Call(_, kids)
            | Node::Bind(_, kids)
            | Node::Matrix { entries: kids, .. }
            | Node::Set(kids)
            | Node::List(kids)
            | Node::Tuple(kids)
            | Node::Union(kids)
            | Node::Intersection(kids)
            | Node::Chain(kids) => (self.kids(kids), [None; 2]),
            Node::Percent(a) | Node::Not(a) => (&[][..], [Some(a), None]),
            Node::Pow(a, b)
            | Node::Difference(a, b)
            | Node::Relation(_, a, b)
            | Node::Interval { low: a, high: b, .. } => (&[][..], [Some(a), Some(b)]),
        };
        pair.into_iter().flatten().chain(list.iter().copied())
    }

    /// Keeps a list of children.
    pub fn list(&mut self, ids: &[Id]) -> Kids {
        let start = self.kids.len() as u32;
        self.kids.extend_from_slice(ids);
        Kids { start, len: ids.len() as u32 }
    }

    /// The number.
    pub fn number(&self, id: NumberId) -> &Number {
        &self.numbers[id.0 as usize]
    }

    /// The name.
    pub fn name(&self, id: NameId) -> &str {
        &self.names[id.0 as usize]
    }

    /// Whether a node is the number −1.
    pub fn is_minus_one(&self, id: Id) -> bool {
        matches!(self.node(id), Node::Number(n) if self.number(n).value == RBig::NEG_ONE)
    }

    /// Keeps a name, once.
    pub fn intern(&mut self, name: &str) -> NameId {
        let known = self.names.iter().position(|held| &**held == name);
        let index = known.unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        });
        NameId(index as u32)
    }

    /// An integer.
    pub fn integer(&mut self, value: impl Into<IBig>) -> Id {
        self.exact(RBig::from(value.into()))
    }

    /// An exact number.
    pub fn exact(&mut self, value: RBig) -> Id {
        self.push_number(Number { value, decimal: false })
    }

    /// A number.
    pub fn push_number(&mut self, number: Number) -> Id {
        let id = NumberId(self.numbers.len() as u32);
        self.numbers.push(number);
        self.push(Node::Number(id))
    }

    /// A variable.
    pub fn symbol(&mut self, name: &str) -> Id {
        let name = self.intern(name);
        self.push(Node::Symbol(name))
    }

    /// A sum.
    pub fn add(&mut self, terms: &[Id]) -> Id {
        let kids = self.list(terms);
        self.push(Node::Add(kids))
    }

    /// A product.
    pub fn mul(&mut self, factors: &[Id]) -> Id {
        let kids = self.list(factors);
        self.push(Node::Mul(kids))
    }

    /// A power.
    pub fn pow(&mut self, base: Id, exponent: Id) -> Id {
        self.push(Node::Pow(base, exponent))
    }

    /// a − b.
    pub fn sub(&mut self, a: Id, b: Id) -> Id {
        let minus = self.neg(b);
        self.add(&[a, minus])
    }

    /// −a.
    pub fn neg(&mut self, a: Id) -> Id {
        let minus_one = self.integer(-1);
        self.mul(&[minus_one, a])
    }

    /// a / b.
    pub fn div(&mut self, a: Id, b: Id) -> Id {
        let minus_one = self.integer(-1);
        let inverse = self.pow(b, minus_one);
        self.mul(&[a, inverse])
    }

    /// So many per cent.
    pub fn percent(&mut self, a: Id) -> Id {
        self.push(Node::Percent(a))
    }

    /// A known function applied.
    pub fn apply(&mut self, function: Function, arguments: &[Id]) -> Id {
        let kids = self.list(arguments);
        self.push(Node::Apply(function, kids))
    }

    /// Puts a copy of one node in another's place. For nodes without children, which keeps the order
    /// of the arena.
    pub fn replace(&mut self, id: Id, by: Id) {
        if self.children(by).next().is_none() {
            self.nodes[id.index()] = self.nodes[by.index()];
        }
    }

    /// Copies another arena's nodes behind one's own, and returns where its node `root` went.
    pub fn import(&mut self, other: &Arena, root: Id) -> Id {
        let (nodes, kids) = (self.nodes.len() as u32, self.kids.len() as u32);
        let numbers = self.numbers.len() as u32;
        let names: Vec<NameId> = other.names.iter().map(|name| self.intern(name)).collect();
        let id = |id: Id| Id(id.0 + nodes);
        let list = |list: Kids| Kids { start: list.start + kids, len: list.len };
        let name = |name: NameId| names[name.0 as usize];
        self.kids.extend(other.kids.iter().map(|&kid| id(kid)));
        self.numbers.extend(other.numbers.iter().cloned());
        self.nodes.extend(other.nodes.iter().map(|&node| match node {
            Node::Number(number) => Node::Number(NumberId(number.0 + numbers)),
            Node::Constant(constant) => Node::Constant(constant),
            Node::Symbol(symbol) => Node::Symbol(name(symbol)),
            Node::Add(kids) => Node::Add(list(kids)),
            Node::Mul(kids) => Node::Mul(list(kids)),
            Node::Pow(a, b) => Node::Pow(id(a), id(b)),
            Node::Apply(function, kids) => Node::Apply(function, list(kids)),
            Node::Call(function, kids) => Node::Call(name(function), list(kids)),
            Node::Percent(a) => Node::Percent(id(a)),
            Node::Bind(binder, kids) => Node::Bind(binder, list(kids)),
            Node::Matrix { rows, columns, entries } => {
                Node::Matrix { rows, columns, entries: list(entries) }
            }
            Node::Set(kids) => Node::Set(list(kids)),
            Node::List(kids) => Node::List(list(kids)),
            Node::Tuple(kids) => Node::Tuple(list(kids)),
            Node::Interval { low, high, low_open, high_open } => {
                Node::Interval { low: id(low), high: id(high), low_open, high_open }
            }
            Node::Union(kids) => Node::Union(list(kids)),
            Node::Intersection(kids) => Node::Intersection(list(kids)),
            Node::Difference(a, b) => Node::Difference(id(a), id(b)),
            Node::NumberSet(set) => Node::NumberSet(set),
            Node::Relation(relation, a, b) => Node::Relation(relation, id(a), id(b)),
            Node::Chain(kids) => Node::Chain(list(kids)),
            Node::Not(a) => Node::Not(id(a)),
        }));
        id(root)
    }
}

/// Whether an expression is made of symbols alone: `x`, `f(x)`, `A/S`.
pub fn only_symbols(arena: &Arena, id: Id) -> bool {
    let mut left = vec![id];
    let mut visits = 0;
    while let Some(id) = left.pop() {
        visits += 1;
        if visits > arena.len() {
            return false;
        }
        match arena.node(id) {
            Node::Symbol(_) => {}
            // A/S is A times S to the minus one.
            Node::Pow(base, exponent) if arena.is_minus_one(exponent) => left.push(base),
            _ => {
                let before = left.len();
                left.extend(arena.children(id));
                if left.len() == before {
                    return false;
                }
            }
        }
    }
    true
}

impl Id {
    /// Its place in the arena.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Children of a node.
pub type Children<'a> = std::iter::Chain<
    std::iter::Flatten<std::array::IntoIter<Option<Id>, 2>>,
    std::iter::Copied<std::slice::Iter<'a, Id>>,
>;
