/**
 * Names of variables: `SLUICE_OPT_` and the name of an option in capitals. Loads nothing, since the
 * commands use it.
 *
 * A prefix of its own, and not `SLUICE_`, since Kubernetes sets SLUICE_PORT and the like to
 * addresses in every pod beside a service of that name. So what begins with it is ours alone, and an
 * unknown one is a mistake that can be refused.
 */

export const VARIABLE_PREFIX = 'SLUICE_OPT_';

export function variableOf(name: string): string {
  return `${VARIABLE_PREFIX}${name.toUpperCase()}`;
}
