/**
 * Loads a package of bench/package.json. Its types are those that the adapter needs of it, so that
 * the rest of the repository can be checked without it.
 *
 * @throws an Error that tells how to install it.
 */
export async function loadPeerModule(name: string): Promise<unknown> {
  try {
    return await import(name)
  } catch (cause) {
    throw new Error(`${name} cannot be loaded: npm ci --prefix bench installs it`, { cause })
  }
}
