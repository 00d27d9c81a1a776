/**
 * Runs npm's `oidc-provider`. The first argument is its module, the second a JSON object:
 *
 *     {"port": 1, "clients": [client metadata], "accounts": "a JSON file: {sub: claims}", "jwks": {"keys": [JWK]}}
 */
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [, , module, json] = process.argv;
const { default: Provider } = await import(pathToFileURL(module));
const { port, clients, accounts, jwks } = JSON.parse(json);
const issuer = `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
  clients,
  jwks,
  cookies: { keys: ['of this test'] },
  claims: {
    openid: ['sub'],
    profile: ['name', 'given_name', 'family_name', 'preferred_username', 'groups'],
    email: ['email', 'email_verified'],
  },
  features: {
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
  },
  pkce: { required: () => true },
  // It normally refuses to send anything to a private network, where all servers of a test are.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  async findAccount(context, sub) {
    return { accountId: sub, claims: async () => ({ sub, ...JSON.parse(readFileSync(accounts, 'utf8'))[sub] }) };
  },
});
provider.on('backchannel.error', (context, error) => console.log(`backchannel.error ${error}`));
provider.on('server_error', (context, error) => console.log(`server_error ${error.stack}`));
provider.on('grant.error', (context, error) => console.log(`grant.error ${error.error_description}`));
provider.listen(port, '127.0.0.1');
