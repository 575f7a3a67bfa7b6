import { defineConfig } from 'vite'

export default defineConfig({
  // Relative addresses, so that the gateway may serve the files under any path.
  base: './',
  build: {
    target: 'es2022',
    // A data: address would break the content security policy (default-src 'self').
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '/v1': { target: process.env['SEXTANT_GATEWAY'] ?? 'http://127.0.0.1:8080', ws: true } } },
})
