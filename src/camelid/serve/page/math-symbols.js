// LaTeX's names of symbols, by what they become in MathML. Each list is "name character name character ...".
const table = (text) => {
  const words = text.trim().split(/\s+/);
  return new Map(Array.from({ length: words.length / 2 }, (_, i) => [words[2 * i], words[2 * i + 1]]));
};

/** Identifiers: Greek, and letters with a meaning. */
export const LETTERS = table(`
  alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι kappa κ varkappa ϰ
  lambda λ mu μ nu ν xi ξ omicron ο pi π varpi ϖ rho ρ varrho ϱ sigma σ varsigma ς tau τ upsilon υ phi ϕ varphi φ
  chi χ psi ψ omega ω Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Upsilon Υ Phi Φ Psi Ψ Omega Ω
  infty ∞ partial ∂ nabla ∇ ell ℓ hbar ℏ hslash ℏ Re ℜ Im ℑ wp ℘ aleph ℵ beth ℶ imath ı jmath ȷ emptyset ∅ varnothing ∅
  top ⊤ bot ⊥ angle ∠ measuredangle ∡ triangle △ Box □ square □ blacksquare ■ lozenge ◊ clubsuit ♣ diamondsuit ♢
  heartsuit ♡ spadesuit ♠ flat ♭ natural ♮ sharp ♯ degree ° checkmark ✓ dagger † ddagger ‡ S § P ¶ pounds £ yen ¥
  copyright © complement ∁ eth ð mho ℧ forall ∀ exists ∃ nexists ∄ neg ¬ lnot ¬ backslash \\ prime ′ surd √
`);

/** Operators, relations and arrows. */
export const OPERATORS = table(`
  pm ± mp ∓ times × div ÷ cdot ⋅ ast ∗ star ⋆ circ ∘ bullet ∙ oplus ⊕ ominus ⊖ otimes ⊗ oslash ⊘ odot ⊙ cap ∩ cup ∪
  uplus ⊎ sqcap ⊓ sqcup ⊔ vee ∨ lor ∨ wedge ∧ land ∧ setminus ∖ smallsetminus ∖ wr ≀ amalg ⨿ bigcirc ◯ diamond ⋄
  bigtriangleup △ bigtriangledown ▽ triangleleft ◃ triangleright ▹ ltimes ⋉ rtimes ⋊ dotplus ∔ centerdot ⋅
  leq ≤ le ≤ leqslant ⩽ geq ≥ ge ≥ geqslant ⩾ ll ≪ gg ≫ lll ⋘ ggg ⋙ neq ≠ ne ≠ equiv ≡ sim ∼ simeq ≃ approx ≈ cong ≅
  approxeq ≊ asymp ≍ doteq ≐ propto ∝ varpropto ∝ prec ≺ succ ≻ preceq ⪯ succeq ⪰ lesssim ≲ gtrsim ≳ lt < gt >
  subset ⊂ supset ⊃ subseteq ⊆ supseteq ⊇ subsetneq ⊊ supsetneq ⊋ nsubseteq ⊈ nsupseteq ⊉ sqsubseteq ⊑ sqsupseteq ⊒
  in ∈ ni ∋ owns ∋ notin ∉ mid ∣ nmid ∤ parallel ∥ nparallel ∦ perp ⟂ vdash ⊢ dashv ⊣ models ⊨ vDash ⊨ Vdash ⊩ bowtie ⋈
  smile ⌣ frown ⌢ therefore ∴ because ∵ coloneqq ≔ colon : triangleq ≜ doteqdot ≑ between ≬ nleq ≰ ngeq ≱ nless ≮ ngtr ≯
  to → gets ← rightarrow → leftarrow ← leftrightarrow ↔ uparrow ↑ downarrow ↓ updownarrow ↕ Rightarrow ⇒ Leftarrow ⇐
  Leftrightarrow ⇔ Uparrow ⇑ Downarrow ⇓ Updownarrow ⇕ mapsto ↦ longmapsto ⟼ longrightarrow ⟶ longleftarrow ⟵
  longleftrightarrow ⟷ Longrightarrow ⟹ Longleftarrow ⟸ Longleftrightarrow ⟺ implies ⟹ impliedby ⟸ iff ⟺
  hookrightarrow ↪ hookleftarrow ↩ rightharpoonup ⇀ rightharpoondown ⇁ leftharpoonup ↼ leftharpoondown ↽
  rightleftharpoons ⇌ leftrightharpoons ⇋ nearrow ↗ searrow ↘ swarrow ↙ nwarrow ↖ rightsquigarrow ⇝ leadsto ⇝
  twoheadrightarrow ↠ upharpoonright ↾ restriction ↾ nrightarrow ↛ nleftarrow ↚ multimap ⊸ circlearrowleft ↺
  ldots … dots … dotsc … dotso … cdots ⋯ dotsb ⋯ dotsm ⋯ dotsi ⋯ vdots ⋮ ddots ⋱ iddots ⋰ colonapprox ∷≈
`);

/** Large operators whose limits stand above and below. */
export const LARGE = table(`
  sum ∑ prod ∏ coprod ∐ bigcup ⋃ bigcap ⋂ bigvee ⋁ bigwedge ⋀ bigoplus ⨁ bigotimes ⨂ bigodot ⨀ biguplus ⨄ bigsqcup ⨆
`);

/** Integrals, whose limits stand beside. */
export const INTEGRALS = table("int ∫ iint ∬ iiint ∭ oint ∮ oiint ∯ smallint ∫");

/** Fences, after \left, \right and \big, and alone. */
export const FENCES = table(`
  langle ⟨ rangle ⟩ lceil ⌈ rceil ⌉ lfloor ⌊ rfloor ⌋ lvert | rvert | lVert ‖ rVert ‖ vert | Vert ‖ | ‖ { { } }
  lbrace { rbrace } lbrack [ rbrack ] llbracket ⟦ rrbracket ⟧ lgroup ⟮ rgroup ⟯ ulcorner ⌜ urcorner ⌝
`);

/** Functions that are written upright; those in LIMITED take their subscript below. */
export const FUNCTIONS = new Set(
  "sin cos tan cot sec csc sinh cosh tanh coth arcsin arccos arctan ln log lg exp dim ker deg hom arg".split(" "),
);
export const LIMITED = table("lim lim max max min min sup sup inf inf det det gcd gcd Pr Pr argmax argmax argmin argmin");
LIMITED.set("limsup", "lim sup").set("liminf", "lim inf").set("varlimsup", "lim sup").set("varliminf", "lim inf");

/** Marks above a letter, and those that stretch over a whole expression. */
export const ACCENTS = table(`
  hat ^ widehat ^ check ˇ tilde ~ widetilde ~ acute ´ grave \` dot ˙ ddot ¨ dddot ⃛ breve ˘ bar ¯ mathring ˚ vec →
  overline ‾ overrightarrow → overleftarrow ← overleftrightarrow ↔ overbrace ⏞ overparen ⏜
`);
export const STRETCHED = new Set(
  "widehat widetilde overline overrightarrow overleftarrow overleftrightarrow overbrace overparen".split(" "),
);
export const UNDER = table("underline _ underbrace ⏟ underparen ⏝ underrightarrow → underleftarrow ←");

/** Widths of spaces in em. */
export const SPACES = new Map([
  [",", 0.167], ["thinspace", 0.167], [":", 0.222], [">", 0.222], ["medspace", 0.222], [";", 0.278],
  ["thickspace", 0.278], ["!", -0.167], ["negthinspace", -0.167], [" ", 0.25], ["enspace", 0.5], ["quad", 1], ["qquad", 2],
]);

/** What stands to the left and right of a matrix. */
export const MATRIX_FENCES = new Map([
  ["matrix", ["", ""]], ["smallmatrix", ["", ""]], ["pmatrix", ["(", ")"]], ["bmatrix", ["[", "]"]],
  ["Bmatrix", ["{", "}"]], ["vmatrix", ["|", "|"]], ["Vmatrix", ["‖", "‖"]], ["cases", ["{", ""]], ["rcases", ["", "}"]],
  ["array", ["", ""]], ["aligned", ["", ""]], ["align", ["", ""]], ["alignat", ["", ""]], ["split", ["", ""]],
  ["gathered", ["", ""]], ["gather", ["", ""]], ["equation", ["", ""]], ["multline", ["", ""]], ["eqnarray", ["", ""]],
]);

// Where Unicode keeps the alphabets: first capital, first small letter, first digit; letters that were there before
// the block was made stand elsewhere.
const ALPHABETS = {
  bold: [0x1d400, 0x1d41a, 0x1d7ce],
  italic: [0x1d434, 0x1d44e, 0],
  boldItalic: [0x1d468, 0x1d482, 0x1d7ce],
  script: [0x1d49c, 0x1d4b6, 0],
  fraktur: [0x1d504, 0x1d51e, 0],
  double: [0x1d538, 0x1d552, 0x1d7d8],
  sans: [0x1d5a0, 0x1d5ba, 0x1d7e2],
  mono: [0x1d670, 0x1d68a, 0x1d7f6],
};
const ELSEWHERE = {
  italic: { h: "ℎ" },
  script: { B: "ℬ", E: "ℰ", F: "ℱ", H: "ℋ", I: "ℐ", L: "ℒ", M: "ℳ", R: "ℛ", e: "ℯ", g: "ℊ", o: "ℴ" },
  fraktur: { C: "ℭ", H: "ℌ", I: "ℑ", R: "ℜ", Z: "ℨ" },
  double: { C: "ℂ", H: "ℍ", N: "ℕ", P: "ℙ", Q: "ℚ", R: "ℝ", Z: "ℤ" },
};
const GREEK_BOLD = { upper: 0x1d6a8, lower: 0x1d6c2 };

/** A character in another alphabet; what has no place there stays as it is. */
export function inAlphabet(name, char) {
  const elsewhere = ELSEWHERE[name]?.[char];
  const starts = ALPHABETS[name];
  if (elsewhere || !starts) return elsewhere ?? char;
  const code = char.codePointAt(0);
  if (/^[A-Z]$/.test(char)) return String.fromCodePoint(starts[0] + code - 65);
  if (/^[a-z]$/.test(char)) return String.fromCodePoint(starts[1] + code - 97);
  if (/^[0-9]$/.test(char) && starts[2]) return String.fromCodePoint(starts[2] + code - 48);
  if (name.startsWith("bold") && /^[Α-Ω]$/.test(char)) return String.fromCodePoint(GREEK_BOLD.upper + code - 0x391);
  if (name.startsWith("bold") && /^[α-ω]$/.test(char)) return String.fromCodePoint(GREEK_BOLD.lower + code - 0x3b1);
  return char;
}

/** LaTeX's commands for alphabets. */
export const ALPHABET_COMMANDS = new Map([
  ["mathbf", "bold"], ["bm", "boldItalic"], ["boldsymbol", "boldItalic"], ["pmb", "boldItalic"], ["mathbb", "double"],
  ["mathcal", "script"], ["mathscr", "script"], ["mathfrak", "fraktur"], ["mathsf", "sans"], ["mathtt", "mono"],
  ["mathit", "italic"], ["mathrm", "upright"], ["mathnormal", "none"], ["bf", "bold"], ["rm", "upright"],
]);
