/** The job of the piscina contender. */
export const halve = (n) => n / 2
