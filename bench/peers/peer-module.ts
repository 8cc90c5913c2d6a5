/**
 * Loads a package of bench/package.json. The adapter declares the types that it needs, so the rest
 * of the repository can be type-checked without the package.
 *
 * @throws an Error that says how to install the package.
 */
export async function loadPeerModule(name: string): Promise<unknown> {
  try {
    return await import(name)
  } catch (cause) {
    throw new Error(`${name} cannot be loaded: npm ci --prefix bench installs it`, { cause })
  }
}
