/** What is used of WebAssembly, whose types come with those of browsers only. */
declare namespace WebAssembly {
  const Module: new (bytes: Uint8Array) => object
  /** `exports` is whatever the module says. */
  const Instance: new (module: object) => { readonly exports: Readonly<Record<string, unknown>> }

  interface Memory {
    readonly buffer: ArrayBuffer
  }
}
