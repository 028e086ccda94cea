// An OIDC provider, and the store proxy that it guards in front of the stores; for `make test-integration`.
//
//   node server.mjs PROVIDER_PORT STORE_PROXY_PORT NAME=STORE_URL...
//
// The provider gives client-credentials tokens that live a few seconds, so that a run sees them renewed. The store proxy takes
// `POST /NAME/...`, lets it through to that store only with such a token for this audience, and keeps count at `GET /seen`.
// `POST /outage?seconds=N` makes the store proxy answer 503 for a while. Everything stays on loopback and in memory.
import { createServer, request } from 'node:http';
import { randomBytes, webcrypto } from 'node:crypto';
import { createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose';

// Node 18, which Debian 12 ships, does not have it as a global yet.
globalThis.crypto ??= webcrypto;
const { default: Provider } = await import('oidc-provider');

const [providerPort, storeProxyPort, ...storeArguments] = process.argv.slice(2);
const stores = new Map(
  storeArguments.map((argument) => {
    const at = argument.indexOf('=');
    return [argument.slice(0, at), new URL(argument.slice(at + 1))];
  }),
);
const issuer = `http://127.0.0.1:${providerPort}`;
const audience = process.env.STORE_PROXY_AUDIENCE ?? 'urn:example:store';
const tokenSeconds = Number(process.env.STORE_PROXY_TOKEN_SECONDS ?? 15);

const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
const publicJwk = { ...(await exportJWK(publicKey)), kid: 'store-proxy', alg: 'ES256', use: 'sig' };
const privateJwk = { ...(await exportJWK(privateKey)), kid: 'store-proxy', alg: 'ES256', use: 'sig' };

const seen = { issued: 0, clients: {}, accepted: 0, turned_away: 0, outage: 0, tenants: {}, user_agents: {}, headers: {}, reasons: {} };
const count = (table, key) => (table[key] = (table[key] ?? 0) + 1);

// The same client under two names; that of the second may send its secret in the body alone (RFC 6749, section 2.3.1).
const clientId = process.env.STORE_PROXY_CLIENT_ID ?? 'telemeter';
const client = (client_id, token_endpoint_auth_method) => ({
  client_id,
  client_secret: process.env.STORE_PROXY_CLIENT_SECRET ?? 'secret',
  token_endpoint_auth_method,
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
  id_token_signed_response_alg: 'ES256',
});
const provider = new Provider(issuer, {
  clients: [client(clientId, 'client_secret_basic'), client(`${clientId}-post`, 'client_secret_post')],
  cookies: { keys: [randomBytes(16).toString('hex')] },
  jwks: { keys: [privateJwk] },
  ttl: { ClientCredentials: tokenSeconds },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      // `audience` is what most providers call it; RFC 8707 says `resource`, and this provider only knows that one.
      defaultResource: (ctx) => ctx.oidc.body?.audience,
      getResourceServerInfo: (_ctx, resource) => ({
        audience: resource,
        scope: '',
        accessTokenFormat: 'jwt',
        accessTokenTTL: tokenSeconds,
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});
// This provider takes the secret from either place, whatever the client is registered for; many do not.
provider.use(async (ctx, next) => {
  const [scheme, credentials] = (ctx.get('authorization') || '').split(' ');
  const [id] = Buffer.from(credentials ?? '', 'base64').toString().split(':');
  if (ctx.path !== '/token' || scheme !== 'Basic' || id !== `${clientId}-post`) return next();
  ctx.status = 401;
  ctx.body = { error: 'invalid_client', error_description: 'this client sends its secret in the body' };
});
provider.on('grant.success', (ctx) => {
  seen.issued += 1;
  count(seen.clients, ctx.oidc.client.clientId);
});
provider.on('grant.error', (_ctx, error) => console.error('grant refused:', error.error_description ?? error.message));
provider.on('server_error', (_ctx, error) => console.error('provider failed:', error));

const keys = createLocalJWKSet({ keys: [publicJwk] });
let outageUntil = 0;

async function guard(headers) {
  const [scheme, token] = (headers.authorization ?? '').split(' ');
  if (scheme.toLowerCase() !== 'bearer' || !token) throw new Error('no bearer token');
  await jwtVerify(token, keys, { issuer, audience, algorithms: ['ES256'] });
}

function passOn(incoming, answer, store, path) {
  const headers = { ...incoming.headers, host: store.host };
  delete headers.authorization;
  const outgoing = request({ hostname: store.hostname, port: store.port, path, method: 'POST', headers }, (back) => {
    answer.writeHead(back.statusCode, back.headers);
    back.pipe(answer);
  });
  outgoing.on('error', (error) => {
    console.error('store:', error.message);
    if (!answer.headersSent) answer.writeHead(502);
    answer.end();
  });
  incoming.pipe(outgoing);
}

function refuse(incoming, answer, status, reason, headers = {}) {
  count(seen.reasons, reason);
  incoming.resume();
  answer.writeHead(status, headers).end(`${reason}\n`);
}

const storeProxy = createServer(async (incoming, answer) => {
  const url = new URL(incoming.url, 'http://store-proxy');
  if (incoming.method === 'GET' && url.pathname === '/seen') {
    answer.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(seen));
    return;
  }
  if (incoming.method === 'POST' && url.pathname === '/outage') {
    outageUntil = Date.now() + 1000 * Number(url.searchParams.get('seconds'));
    incoming.resume();
    answer.writeHead(204).end();
    return;
  }
  const [, name, ...rest] = url.pathname.split('/');
  const store = stores.get(name);
  if (incoming.method !== 'POST' || !store) {
    refuse(incoming, answer, 404, 'no such store');
    return;
  }
  try {
    await guard(incoming.headers);
  } catch (error) {
    seen.turned_away += 1;
    refuse(incoming, answer, 401, error.message, { 'www-authenticate': 'Bearer' });
    return;
  }
  if (Date.now() < outageUntil) {
    seen.outage += 1;
    refuse(incoming, answer, 503, 'outage', { 'retry-after': '1' });
    return;
  }
  seen.accepted += 1;
  count(seen.tenants, incoming.headers['thanos-tenant'] ?? '');
  count(seen.user_agents, incoming.headers['user-agent'] ?? '');
  for (const header of ['content-type', 'content-encoding', 'x-prometheus-remote-write-version']) {
    count(seen.headers, `${header}: ${incoming.headers[header] ?? ''}`);
  }
  passOn(incoming, answer, store, `/${rest.join('/')}`);
});

createServer(provider.callback()).listen(Number(providerPort), '127.0.0.1');
storeProxy.listen(Number(storeProxyPort), '127.0.0.1');
