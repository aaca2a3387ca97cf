/** What stands for Grafana's variables in an expression. */
export type Values = Readonly<Record<string, string>>;

/** An expression with values for its variables. @throws Error when one has none */
export function fillIn(expr: string, values: Values): string {
  return expr.replaceAll(/\$(\w+)|\$\{(\w+)\}/g, (found, plain: string, braced: string) => {
    const value = values[plain ?? braced];
    if (value === undefined) throw new Error(`${expr}: no value for ${found}`);
    return value;
  });
}
