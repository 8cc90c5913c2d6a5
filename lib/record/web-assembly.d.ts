/** The parts of WebAssembly that are used. Its types are only available with those of browsers. */
declare namespace WebAssembly {
  const Module: new (bytes: Uint8Array) => object
  /** `exports` depends on the module. */
  const Instance: new (module: object) => { readonly exports: Readonly<Record<string, unknown>> }

  interface Memory {
    readonly buffer: ArrayBuffer
  }
}
