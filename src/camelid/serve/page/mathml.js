const MATHML = "http://www.w3.org/1998/Math/MathML";

/** An element of MathML. */
export function mathml(tag, attributes = {}, ...children) {
  const node = document.createElementNS(MATHML, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
