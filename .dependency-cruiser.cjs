// Imports point downwards: a layer may use itself and what stands before it. Checked on the compiled files,
// so that imports of types alone, which vanish, do not count.
const layers = [
  'core',
  'model',
  'rpc',
  'engine/codec',
  'engine/wire',
  'engine/changelog',
  'engine/dialect',
  'engine/catalog',
  'engine/store',
  'engine/replication',
  'engine/executor',
  'engine/front',
  'engine/planner',
  'engine/txn',
  'engine/dispatch',
  'engine/ha',
  'engine/move',
  'engine/session',
  'engine/daemon',
];
const path = (layer) => `^dist/${layer}/`;
module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: { path: '^dist/' }, to: { circular: true } },
    ...layers.slice(0, -1).map((layer, index) => ({
      name: `${layer}-imports-downwards`,
      severity: 'error',
      from: { path: path(layer) },
      to: { path: [...layers.slice(index + 1).map(path), '^dist/(cluster|commands|ui)/'] },
    })),
    {
      name: 'engine-knows-no-cli',
      severity: 'error',
      from: { path: '^dist/engine/' },
      to: { path: '^dist/(cluster|commands|ui)/' },
    },
    {
      name: 'administration-knows-no-engine',
      severity: 'error',
      from: { path: '^dist/(cluster|commands|ui)/' },
      to: { path: '^dist/engine/' },
    },
    { name: 'cluster-knows-no-screen', severity: 'error', from: { path: '^dist/cluster/' }, to: { path: '^dist/(commands|ui)/' } },
  ],
  options: { doNotFollow: { path: 'node_modules' }, moduleSystems: ['es6', 'cjs'] },
};
